"""Lamps: turn on lamps in the order that the instruction names.

Invariant: the instruction `lamps_N` is the same order of lamps on every machine; nothing is random.
"""

from __future__ import annotations

from itertools import permutations
from typing import ClassVar

from envs.base import Expert, ExpertStuck, Instruction, Sizes, TextEnv, stable_order

COLOURS = ("red", "blue", "green", "white", "yellow")


class Lamps(TextEnv):
    """Two or three lamps, to be turned on one after another.

    Observation: the order at first, then which lamps are on. Action: `press COLOUR`. Reward: 1 when the last lamp is on. A wrong lamp
    turns all of them off again.
    """

    name: ClassVar[str] = "lamps"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("order",)
    sizes: ClassVar[Sizes] = Sizes(instructions=80, eval=16, agent_traj=32, agent_traj_l=64)
    max_rounds: ClassVar[int] = 6
    prompt: ClassVar[str] = (
        "Turn on the lamps in the given order. A wrong lamp turns all of them off.\n"
        "Answer in this form:\nThought: ...\nAction: press COLOUR"
    )

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        items = stable_order((_instruction(number, order) for number, order in enumerate(_ORDERS)), "lamps eval")
        return tuple(items[cls.sizes.eval :]), tuple(items[: cls.sizes.eval])

    def begin(self, item_id: str) -> str:
        instruction = self.instruction(item_id)
        self._order = _ORDERS[int(item_id.removeprefix("lamps_"))]
        self._on = 0
        return instruction.text

    def act(self, action: str) -> tuple[str, float, bool]:
        colour = action.removeprefix("press ")
        if colour == action or colour not in COLOURS:
            return f"There is no such action. The lamps are {', '.join(COLOURS)}.", 0.0, False
        self._on = self._on + 1 if colour == self._order[self._on] else 0
        done = self._on == len(self._order)
        lamps = ", ".join(self._order[: self._on]) or "none"
        return f"Lamps that are on: {lamps}.", float(done), done

    def available_actions(self) -> list[str]:
        return [f"press {colour}" for colour in COLOURS]

    def expert(self) -> Expert:
        return LampsExpert(self)


class LampsExpert:
    """Presses the next lamp of the order."""

    def __init__(self, env: Lamps) -> None:
        self.env = env

    def act(self, observation: str) -> tuple[str, str]:
        if self.env.done:
            raise ExpertStuck("all lamps are on")
        colour = self.env._order[self.env._on]
        return f"The next lamp is {colour}.", f"press {colour}"


_ORDERS = (*permutations(COLOURS, 2), *permutations(COLOURS, 3))  # 20 + 60


def _instruction(number: int, order: tuple[str, ...]) -> Instruction:
    return Instruction(f"lamps_{number}", "lamps", "order", f"{len(order)} lamps", f"Turn on {', then '.join(order)}.")
