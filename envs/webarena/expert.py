"""The scripted expert of WebArena: it follows the steps of the task's solution."""

from __future__ import annotations

import re

from envs.base import ExpertStuck
from envs.webarena.tasks.task import Click, Goto, SolutionStep, Stop, Type

_MAX_SCROLLS = 6


class WebArenaExpert:
    """Finds the element of each step in the observation, and scrolls down if it is not visible."""

    def __init__(self, solution: tuple[SolutionStep, ...]) -> None:
        self._remaining = list(solution)
        self._scrolls = 0

    def act(self, observation: str) -> tuple[str, str]:
        step = self._remaining[0]
        if isinstance(step, Stop):
            return ("I have the answer." if step.answer else "This is done."), f"stop [{step.answer}]"
        if isinstance(step, Goto):
            self._remaining.pop(0)
            return "I go on to the other site.", f"goto [{step.url}]"
        role = "textbox" if isinstance(step, Type) else step.role
        element_id = _find_element(observation, role, step.name)
        if element_id is None:
            self._scrolls += 1
            if self._scrolls > _MAX_SCROLLS:
                raise ExpertStuck(f"there is no {step.name!r} on the page")
            return f"I look for {step.name} further down.", "scroll [down]"
        self._remaining.pop(0)
        self._scrolls = 0
        if isinstance(step, Type):
            return f"{step.name} is [{element_id}].", f"type [{element_id}] [{step.text}] [{int(step.enter)}]"
        return _click_thought(step, element_id), f"click [{element_id}]"


def _click_thought(step: Click, element_id: str) -> str:
    return f"I choose {step.name}, [{element_id}]." if step.role == "radio" else f"I click {step.name}, [{element_id}]."


def _find_element(observation: str, role: str, name: str) -> str | None:
    match = re.search(rf"^ *\[(\d+)\] {role} '{re.escape(name)}'(?: |$)", observation, re.MULTILINE)
    return match[1] if match else None
