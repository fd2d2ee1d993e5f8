"""The scripted SciWorld expert: it replays ScienceWorld's recorded solution, with a sentence for the purpose of each action.

Invariant: its actions are the gold path of the game, whatever the observations are.
"""

from __future__ import annotations

from collections.abc import Sequence

from envs.base import ExpertStuck

# The start of an action -> the thought; {} is the rest of the action.
_THOUGHTS = (
    ("go to ", "I go on to the {}."),
    ("open ", "The {} must be open."),
    ("close ", "The {} can be closed."),
    ("look around", "I look at what is here."),
    ("look ", "I look closer."),
    ("pick up ", "I will need the {}."),
    ("focus on ", "The task is about the {}."),
    ("move ", "I bring it where it is needed."),
    ("pour ", "I bring it where it is needed."),
    ("use ", "I use one thing on another."),
    ("activate ", "I turn the {} on."),
    ("deactivate ", "I turn the {} off."),
    ("connect ", "I wire it up."),
    ("mix ", "I mix what is in the {}."),
    ("read ", "I read the {}."),
    ("wait", "This takes time."),
)


class SciWorldExpert:
    """The expert of one episode. Raises ExpertStuck at the end of the recorded solution."""

    def __init__(self, gold_path: Sequence[str]) -> None:
        self._actions = iter(gold_path)

    def act(self, observation: str) -> tuple[str, str]:
        action = next(self._actions, None)
        if action is None:
            raise ExpertStuck("the recorded solution has ended")
        return thought_for(action), action


def thought_for(action: str) -> str:
    """A sentence for an action of the recorded solution."""
    for start, thought in _THOUGHTS:
        if action.startswith(start):
            return thought.format(action.removeprefix(start).removeprefix("door to "))
    return "It is this one." if action.isdigit() else "I do the next step."
