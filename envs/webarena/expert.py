"""The expert: follows the moves of the template that made the task, on what it sees."""

from __future__ import annotations

import re

from envs.base import ExpertStuck
from envs.webarena.tasks.task import Click, Goto, Move, Stop, Type

_MOST_SCROLLS = 6


class Surfer:
    """Finds each move's element in the observation; scrolls down to it where it is out of view."""

    def __init__(self, moves: tuple[Move, ...]) -> None:
        self._left = list(moves)
        self._scrolls = 0

    def act(self, observation: str) -> tuple[str, str]:
        move = self._left[0]
        if isinstance(move, Stop):
            return ("I have the answer." if move.answer else "This is done."), f"stop [{move.answer}]"
        if isinstance(move, Goto):
            self._left.pop(0)
            return "I go on to the other site.", f"goto [{move.url}]"
        number = _number(observation, *(("textbox", move.name) if isinstance(move, Type) else (move.role, move.name)))
        if number is None:
            self._scrolls += 1
            if self._scrolls > _MOST_SCROLLS:
                raise ExpertStuck(f"there is no {move.name!r} on the page")
            return f"I look for {move.name} further down.", "scroll [down]"
        self._left.pop(0)
        self._scrolls = 0
        if isinstance(move, Type):
            return f"{move.name} is [{number}].", f"type [{number}] [{move.text}] [{int(move.enter)}]"
        return _said(move, number), f"click [{number}]"


def _said(move: Click, number: str) -> str:
    return f"I choose {move.name}, [{number}]." if move.role == "radio" else f"I click {move.name}, [{number}]."


def _number(observation: str, role: str, name: str) -> str | None:
    found = re.search(rf"^ *\[(\d+)\] {role} '{re.escape(name)}'(?: |$)", observation, re.MULTILINE)
    return found[1] if found else None
