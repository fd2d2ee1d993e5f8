"""Coverage: the share of instructions, by environment and difficulty, that have at least one trajectory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from envs.base import Instruction


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of the `instructions` of an environment and difficulty, how many have at least one trajectory."""

    env: str
    difficulty: str
    instructions: int
    covered: int

    @property
    def share(self) -> float:
        return self.covered / self.instructions if self.instructions else 1.0


def coverage(present: Collection[str], instructions: Iterable[Instruction]) -> list[Coverage]:
    """Per environment and difficulty, by name (with numbers in their order), how many of the instructions are `present`, by their ids."""
    total: Counter[tuple[str, str]] = Counter()
    covered: Counter[tuple[str, str]] = Counter()
    for instruction in instructions:
        place = (instruction.env, instruction.difficulty)
        total[place] += 1
        covered[place] += instruction.item_id in present
    return [Coverage(*place, total[place], covered[place]) for place in sorted(total, key=lambda place: (place[0], _natural(place[1])))]


def _natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which "5-9" stands before "10-14"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text) if part]
