"""Academia: questions about papers and their authors as two graphs, answered with tools.

Invariant: the result of a tool depends on its arguments and on which graphs the episode has loaded.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

from envs.base import Sizes
from envs.tools.academia_network import network
from envs.tools.academia_problems import TEMPLATES
from envs.tools.base import ToolEnv, ToolError, tool
from envs.tools.problem import Problem, generate_problems


class Academia(ToolEnv):
    """Questions about a paper network and an author network, after AgentBoard's tool-query tasks as AgentGym serves them.

    Observation: first the goal, then the result of each call, as JSON. Actions: one call per round, `name with Action Input: {...}`; the
    tools and their arguments are those of AgentGym's academia environment; a graph must be loaded before it is queried. Reward: 1 if
    `finish` gets the right answer, else 0; it ends the episode. At most 12 rounds. Instructions: 20, all eval: as in the paper, there is no
    expert data to train on.

    Differences from AgentGym's environment:
    - 300 invented papers by 90 invented authors, generated from a seed; AgentGym uses pickles that are not in its repository.
    - Only `finish` gives an answer and ends an episode; arguments are parsed, not evaluated.
    """

    name: ClassVar[str] = "academia"
    version: ClassVar[int] = 2
    task_types: ClassVar[tuple[str, ...]] = ("academia",)
    sizes: ClassVar[Sizes] = Sizes(instructions=20, eval=20, agent_traj=0, agent_traj_l=0)
    max_rounds: ClassVar[int] = 12
    intro: ClassVar[str] = "Answer the question with the tools. Papers cite papers (PaperNet); authors write together (AuthorNet)."

    @classmethod
    def problems(cls) -> tuple[Problem, ...]:
        return _problems()

    def reset_state(self, problem: Problem) -> None:
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
        edges = self._graph_edges(graph)
        neighbours = sorted({end for edge in edges if node in edge for end in edge} - {node})
        if not neighbours:
            self._attributes(graph, node)  # raises where there is no such node
        return neighbours

    @tool
    def paperNodeCheck(self, node: str) -> dict[str, Any]:
        """a paper's authors, year and venue"""
        return dict(self._attributes("PaperNet", node))

    @tool
    def authorNodeCheck(self, node: str) -> dict[str, Any]:
        """an author's papers and institution"""
        return dict(self._attributes("AuthorNet", node))

    @tool
    def authorEdgeCheck(self, node1: str, node2: str) -> dict[str, Any]:
        """what two authors wrote together"""
        self._attributes("AuthorNet", node1), self._attributes("AuthorNet", node2)
        joint_papers = network().joint_papers.get(tuple(sorted((node1, node2))))
        if joint_papers is None:
            raise ToolError("These two have written nothing together.")
        return {"papers": joint_papers}

    @tool
    def paperEdgeCheck(self, node1: str, node2: str) -> str:
        """whether one of two papers cites the other"""
        self._attributes("PaperNet", node1), self._attributes("PaperNet", node2)
        for citing, cited in ((node1, node2), (node2, node1)):
            if (citing, cited) in network().citations:
                return f"{citing} cites {cited}"
        raise ToolError("Neither of these papers cites the other.")

    def _graph_edges(self, graph: str) -> list[tuple[str, ...]]:
        if graph not in ("PaperNet", "AuthorNet"):
            raise ToolError("The graphs are PaperNet and AuthorNet.")
        if graph not in self.loaded:
            raise ToolError(f"{graph} is not loaded; call load{graph} first.")
        return [*network().citations] if graph == "PaperNet" else [*network().joint_papers]

    def _attributes(self, graph: str, node: str) -> dict[str, Any]:
        self._graph_edges(graph)
        nodes = network().papers if graph == "PaperNet" else network().authors
        if node not in nodes:
            raise ToolError(f"There is no such node in {graph}.")
        return nodes[node]


@lru_cache(maxsize=None)
def _problems() -> tuple[Problem, ...]:
    return generate_problems(TEMPLATES, Academia.sizes.instructions, "academia problems")
