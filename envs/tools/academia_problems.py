"""The templates of Academia's questions, each with the calls that answer it."""

from __future__ import annotations

import random
from typing import Any

from envs.tools.academia_network import network
from envs.tools.problem import Call, Problem, Template


def paper_attribute(rng: random.Random) -> Problem:
    title = rng.choice(list(network().papers))
    attribute, question = rng.choice([("year", "In which year did"), ("venue", "At which venue did")])

    def solve(call: Call) -> Any:
        call("The paper is in PaperNet.", "loadPaperNet")
        return call("I look the paper up.", "paperNodeCheck", node=title)[attribute]

    return Problem(f"{question} the paper '{title}' appear?", "2 calls", solve)


def count_citations(rng: random.Random) -> Problem:
    title = rng.choice(list(network().papers))

    def solve(call: Call) -> Any:
        call("Citations are in PaperNet.", "loadPaperNet")
        return len(call("I count what the paper is joined to.", "neighbourCheck", graph="PaperNet", node=title))

    return Problem(f"How many papers does '{title}' cite or is it cited by?", "2 calls", solve)


def count_coauthors(rng: random.Random) -> Problem:
    name = rng.choice(sorted({author for pair in network().joint_papers for author in pair}))

    def solve(call: Call) -> Any:
        call("Joint work is in AuthorNet.", "loadAuthorNet")
        return len(call("I count who the author wrote with.", "neighbourCheck", graph="AuthorNet", node=name))

    return Problem(f"With how many people has {name} written papers?", "2 calls", solve)


def count_joint_papers(rng: random.Random) -> Problem:
    author1, author2 = rng.choice(sorted(network().joint_papers))

    def solve(call: Call) -> Any:
        call("Joint work is in AuthorNet.", "loadAuthorNet")
        return len(call("I ask what the two wrote together.", "authorEdgeCheck", node1=author1, node2=author2)["papers"])

    return Problem(f"How many papers have {author1} and {author2} written together?", "2 calls", solve)


def citing_paper(rng: random.Random) -> Problem:
    first, second = sorted(rng.choice(sorted(network().citations)))

    def solve(call: Call) -> Any:
        call("Citations are in PaperNet.", "loadPaperNet")
        return call("I ask about the two papers.", "paperEdgeCheck", node1=first, node2=second).partition(" cites ")[0]

    return Problem(f"Which of these two papers cites the other: '{first}' or '{second}'?", "2 calls", solve)


def institution_of_first_author(rng: random.Random) -> Problem:
    title = rng.choice(list(network().papers))

    def solve(call: Call) -> Any:
        call("The paper is in PaperNet.", "loadPaperNet")
        author = call("I look the paper up.", "paperNodeCheck", node=title)["authors"][0]
        call("Authors are in AuthorNet.", "loadAuthorNet")
        return call("Now the first author.", "authorNodeCheck", node=author)["institution"]

    return Problem(f"At which institution is the first author of '{title}'?", "4 calls", solve)


TEMPLATES: tuple[Template, ...] = (
    paper_attribute,
    count_citations,
    count_coauthors,
    count_joint_papers,
    citing_paper,
    institution_of_first_author,
)
