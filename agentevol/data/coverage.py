"""Coverage: the share of instructions of an environment and difficulty that have at least one trajectory."""

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


def coverage(covered_ids: Collection[str], instructions: Iterable[Instruction]) -> list[Coverage]:
    """How many of the instructions have their id in `covered_ids`, per environment and difficulty, sorted by name and number."""
    total: Counter[tuple[str, str]] = Counter()
    covered: Counter[tuple[str, str]] = Counter()
    for instruction in instructions:
        group = (instruction.env, instruction.difficulty)
        total[group] += 1
        covered[group] += instruction.item_id in covered_ids
    return [Coverage(*group, total[group], covered[group]) for group in sorted(total, key=lambda group: (group[0], _natural_key(group[1])))]


def _natural_key(text: str) -> list[tuple[int, str]]:
    """A sort key with "5-9" before "10-14"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text) if part]
