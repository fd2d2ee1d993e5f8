"""A problem of a tool environment: a question or a change, with the solution that its expert follows.

Invariant: a problem's text, difficulty and solution depend on the seed of its generator alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Call = Callable[..., Any]
"""`call(thought, tool, **arguments)` calls a tool and returns its result; the pairs (thought, call) become the expert's turns."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One instruction. `solve` computes the answer by calling tools."""

    text: str
    difficulty: str
    solve: Callable[[Call], Any]
    today: str = ""
    """The date that the tools take for today, where they have one."""
    user_city: str = ""
    initial_state: str = ""
    """The key of the state that the tools start from (an account, a sheet), where they have one."""


Template = Callable[[random.Random], Problem]


def generate_problems(templates: Sequence[Template], count: int, seed: str) -> tuple[Problem, ...]:
    """The first `count` problems with distinct texts; the templates take turns."""
    rng = random.Random(seed)
    problems: dict[str, Problem] = {}
    while len(problems) < count:
        for template in templates:
            problem = template(rng)
            problems.setdefault(problem.text, problem)
    return tuple(problems.values())[:count]
