"""The scripted expert of the tool environments: it replays the calls of the problem's solution."""

from __future__ import annotations

from typing import Any

from envs.tools.arguments import as_json


class SolutionExpert:
    """Makes the calls of the solution, then finishes with the answer. `solution`: (thought, action) per call."""

    def __init__(self, solution: list[tuple[str, str]], answer: Any) -> None:
        self._solution, self._answer = iter(solution), answer

    def act(self, observation: str) -> tuple[str, str]:
        finish = ("I have what was asked for.", f"finish with Action Input: {as_json({'answer': self._answer})}")
        return next(self._solution, finish)
