"""Academia: questions about papers and their authors as two graphs, answered with tools.

Invariant: what a tool gives depends on its arguments and on whether the graphs have been loaded.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations
from typing import Any, ClassVar

from envs.base import Sizes
from envs.tools.base import Problem, ToolEnv, ToolError, tool

PAPERS, AUTHORS = 300, 90
_GIVEN = "Anna,Bela,Carl,Dora,Emil,Frida,Gustav,Hedda,Ivo,Jana,Karel,Lena,Milan,Nora,Oskar".split(",")
_FAMILY = "Arndt,Bauer,Czerny,Dietz,Eklund,Fuchs,Geiger,Haas,Ivarsson,Jelinek,Krause,Lang".split(",")
_HOW = "Learning,Parsing,Ranking,Planning,Sampling,Indexing,Pruning,Routing,Hashing,Scheduling".split(",")
_WHAT = "Graphs,Dialogues,Queries,Proofs,Signals,Programs,Tables,Maps,Streams,Images".split(",")
_WITH = "with Few Labels,at Scale,under Noise,by Search,in Real Time,from Feedback".split(",")
_VENUES = ["Journal of Machines", "Proceedings of Data", "Letters on Networks", "Annals of Language"]


class Academia(ToolEnv):
    """Questions about a paper network and an author network, after AgentBoard's tool-query tasks as AgentGym serves them.

    Observation: the goal first, then what each tool gave, as JSON. Actions: one call a round, `name with Action Input: {...}`; the tools
    and their arguments are those of AgentGym's academia environment; a graph must be loaded before it is asked. Reward: 1 when `finish` is
    given the right answer, else 0; it ends the episode. At most 12 rounds. Instructions: 20, all eval, as in the paper: there is no expert
    data to learn from.

    Where it differs from AgentGym's, and why:
    - 300 invented papers by 90 invented authors, made from a seed; there, pickles that are not in the repository.
    - The answer counts when it is given with `finish`, and only that call ends an episode; arguments are parsed, not evaluated.
    """

    name: ClassVar[str] = "academia"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("academia",)
    sizes: ClassVar[Sizes] = Sizes(instructions=20, eval=20, agent_traj=0, agent_traj_l=0)
    max_rounds: ClassVar[int] = 12
    intro: ClassVar[str] = "Answer the question with the tools. Papers cite papers (PaperNet); authors write together (AuthorNet)."

    @classmethod
    def problems(cls) -> tuple[Problem, ...]:
        return _problems()

    def prepare(self, problem: Problem) -> None:
        self.loaded: set[str] = set()

    @tool
    def loadPaperNet(self) -> str:
        """load the citations of papers"""
        self.loaded.add("PaperNet")
        return "PaperNet is loaded."

    @tool
    def loadAuthorNet(self) -> str:
        """load the joint work of authors"""
        self.loaded.add("AuthorNet")
        return "AuthorNet is loaded."

    @tool
    def neighbourCheck(self, graph: str, node: str) -> list[str]:
        """what a node of PaperNet or AuthorNet is joined to"""
        edges = self._edges(graph)
        found = sorted({end for edge in edges if node in edge for end in edge} - {node})
        if not found:
            self._node(graph, node)
        return found

    @tool
    def paperNodeCheck(self, node: str) -> dict[str, Any]:
        """a paper's authors, year and venue"""
        return dict(self._node("PaperNet", node))

    @tool
    def authorNodeCheck(self, node: str) -> dict[str, Any]:
        """an author's papers and institution"""
        return dict(self._node("AuthorNet", node))

    @tool
    def authorEdgeCheck(self, node1: str, node2: str) -> dict[str, Any]:
        """what two authors wrote together"""
        self._node("AuthorNet", node1), self._node("AuthorNet", node2)
        together = network().together.get(tuple(sorted((node1, node2))))
        if together is None:
            raise ToolError("These two have written nothing together.")
        return {"papers": together}

    @tool
    def paperEdgeCheck(self, node1: str, node2: str) -> str:
        """whether one of two papers cites the other"""
        self._node("PaperNet", node1), self._node("PaperNet", node2)
        for one, other in ((node1, node2), (node2, node1)):
            if (one, other) in network().citations:
                return f"{one} cites {other}"
        raise ToolError("Neither of these papers cites the other.")

    def _edges(self, graph: str) -> list[tuple[str, ...]]:
        if graph not in ("PaperNet", "AuthorNet"):
            raise ToolError("The graphs are PaperNet and AuthorNet.")
        if graph not in self.loaded:
            raise ToolError(f"{graph} is not loaded; call load{graph} first.")
        return [*network().citations] if graph == "PaperNet" else [*network().together]

    def _node(self, graph: str, node: str) -> dict[str, Any]:
        self._edges(graph)
        nodes = network().papers if graph == "PaperNet" else network().authors
        if node not in nodes:
            raise ToolError(f"There is no such node in {graph}.")
        return nodes[node]


class Network:
    """Papers with their authors, who cites whom, who wrote what with whom."""

    def __init__(self) -> None:
        draw = random.Random("academia")
        names = [f"{given} {family}" for given in _GIVEN for family in _FAMILY]
        titles = [f"{how} {what} {rest}" for how in _HOW for what in _WHAT for rest in _WITH]
        draw.shuffle(names)
        draw.shuffle(titles)
        people = names[:AUTHORS]
        self.papers: dict[str, dict[str, Any]] = {}
        self.citations: dict[tuple[str, str], None] = {}
        self.together: dict[tuple[str, ...], list[str]] = {}
        for number, title in enumerate(titles[:PAPERS]):
            start = draw.randrange(AUTHORS)
            authors = sorted({people[(start + draw.randrange(7)) % AUTHORS] for _ in range(draw.randrange(2, 5))})
            self.papers[title] = {"authors": authors, "year": 1998 + number // 12, "venue": draw.choice(_VENUES)}
            for earlier in draw.sample(titles[:number], min(number, draw.randrange(1, 4))):
                self.citations[title, earlier] = None
            for pair in combinations(authors, 2):
                self.together.setdefault(pair, []).append(title)
        places = ("Norwell University", "Institute of Linton", "Eastham College", "Brayford Laboratory")
        self.authors = {
            name: {
                "papers": [title for title, paper in self.papers.items() if name in paper["authors"]],
                "institution": draw.choice(places),
            }
            for name in people
        }


@lru_cache(maxsize=None)
def network() -> Network:
    return Network()


Call = Callable[..., Any]


def _paper_fact(draw: random.Random) -> Problem:
    title, (what, asked) = (
        draw.choice(list(network().papers)),
        draw.choice([("year", "In which year did"), ("venue", "At which venue did")]),
    )

    def solve(call: Call) -> Any:
        call("The paper is in PaperNet.", "loadPaperNet")
        return call("I look the paper up.", "paperNodeCheck", node=title)[what]

    return Problem(f"{asked} the paper '{title}' appear?", "2 calls", solve)


def _citations(draw: random.Random) -> Problem:
    title = draw.choice(list(network().papers))

    def solve(call: Call) -> Any:
        call("Citations are in PaperNet.", "loadPaperNet")
        return len(call("I count what the paper is joined to.", "neighbourCheck", graph="PaperNet", node=title))

    return Problem(f"How many papers does '{title}' cite or is it cited by?", "2 calls", solve)


def _colleagues(draw: random.Random) -> Problem:
    name = draw.choice(sorted({one for pair in network().together for one in pair}))

    def solve(call: Call) -> Any:
        call("Joint work is in AuthorNet.", "loadAuthorNet")
        return len(call("I count who the author wrote with.", "neighbourCheck", graph="AuthorNet", node=name))

    return Problem(f"With how many people has {name} written papers?", "2 calls", solve)


def _joint(draw: random.Random) -> Problem:
    one, other = draw.choice(sorted(network().together))

    def solve(call: Call) -> Any:
        call("Joint work is in AuthorNet.", "loadAuthorNet")
        return len(call("I ask what the two wrote together.", "authorEdgeCheck", node1=one, node2=other)["papers"])

    return Problem(f"How many papers have {one} and {other} written together?", "2 calls", solve)


def _who_cites(draw: random.Random) -> Problem:
    one, other = draw.choice(sorted(network().citations))
    first, second = sorted((one, other))

    def solve(call: Call) -> Any:
        call("Citations are in PaperNet.", "loadPaperNet")
        return call("I ask about the two papers.", "paperEdgeCheck", node1=first, node2=second).partition(" cites ")[0]

    return Problem(f"Which of these two papers cites the other: '{first}' or '{second}'?", "2 calls", solve)


def _first_author(draw: random.Random) -> Problem:
    title = draw.choice(list(network().papers))

    def solve(call: Call) -> Any:
        call("The paper is in PaperNet.", "loadPaperNet")
        author = call("I look the paper up.", "paperNodeCheck", node=title)["authors"][0]
        call("Authors are in AuthorNet.", "loadAuthorNet")
        return call("Now the first author.", "authorNodeCheck", node=author)["institution"]

    return Problem(f"At which institution is the first author of '{title}'?", "4 calls", solve)


_TEMPLATES = (_paper_fact, _citations, _colleagues, _joint, _who_cites, _first_author)


@lru_cache(maxsize=None)
def _problems() -> tuple[Problem, ...]:
    draw = random.Random("academia problems")
    found: dict[str, Problem] = {}
    while len(found) < Academia.sizes.instructions:
        for template in _TEMPLATES:
            problem = template(draw)
            found.setdefault(problem.text, problem)
    return tuple(found.values())[: Academia.sizes.instructions]
