"""What is learnt from: exploration filtered by reward, then merged with the expert set.

Invariant: the order of the rows depends on the order of the input alone, and everything dropped is counted under its reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agentevol.settings import Merge
from agentevol.trajectory import Trajectory
from envs.base import Instruction
from envs.registry import environment_class

_Item = TypeVar("_Item", Trajectory, Instruction)


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


@dataclass(frozen=True, slots=True)
class FilterReport:
    """What a filter did. `dropped` counts by reason: error, truncated (and failed), failed, duplicate, over the cap."""

    episodes: int
    kept: int
    dropped: dict[str, int]
    coverage: list[Coverage]


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge put together: rows from the expert set and from exploration, and the duplicates left out of each other."""

    how: Merge
    initial: int
    explored: int
    duplicates: int
    rows: int


def keep_by_reward(trajectories: Sequence[Trajectory], *, cap: int | None = None) -> tuple[list[Trajectory], FilterReport]:
    """The successes, by their environment's one rule on the reward; at most `cap` different ones per instruction, the first ones.

    Episodes that a fault ended are dropped whatever their reward. Coverage is over the instructions that were explored.
    """
    dropped: Counter[str] = Counter(dict.fromkeys(("error", "failed", "truncated", "duplicate", "over the cap"), 0))
    kept: list[Trajectory] = []
    per_instruction: Counter[str] = Counter()
    seen: set[str] = set()
    for trajectory in trajectories:
        key = trajectory.text_key()
        if trajectory.status == "error":
            dropped["error"] += 1
        elif not environment_class(trajectory.env).succeeded(trajectory.reward):
            dropped["truncated" if trajectory.status == "truncated" else "failed"] += 1
        elif key in seen:
            dropped["duplicate"] += 1
        elif cap is not None and per_instruction[trajectory.item_id] >= cap:
            dropped["over the cap"] += 1
        else:
            seen.add(key)
            per_instruction[trajectory.item_id] += 1
            kept.append(trajectory)
    explored = {item.item_id: item for item in (environment_class(t.env).instruction(t.item_id) for t in trajectories)}
    return kept, FilterReport(len(trajectories), len(kept), dict(dropped), coverage(kept, explored.values()))


def merge(initial: Sequence[Trajectory], explored: Sequence[Sequence[Trajectory]], how: Merge) -> tuple[list[Trajectory], MergeReport]:
    """The training set of an iteration from the expert set and the kept explorations, one list per iteration, oldest first.

    "initial": the expert set and the last exploration; "cumulative": the expert set and all of them; "none": the last alone.
    Where rows are duplicates (the same instruction, the same answers), the first stays.
    """
    before = list(initial) if how != "none" else []
    new = [trajectory for iteration in (explored if how == "cumulative" else explored[-1:]) for trajectory in iteration]
    unique: dict[str, Trajectory] = {}
    for trajectory in [*before, *new]:
        unique.setdefault(trajectory.text_key(), trajectory)
    rows = list(unique.values())
    return rows, MergeReport(how, len(before), len(new), len(before) + len(new) - len(rows), len(rows))


def coverage(trajectories: Iterable[Trajectory], instructions: Iterable[Instruction]) -> list[Coverage]:
    """Per environment and difficulty, by name (with numbers in their order), how many of the instructions have a trajectory."""
    present = {trajectory.item_id for trajectory in trajectories}
    total: Counter[tuple[str, str]] = Counter()
    covered: Counter[tuple[str, str]] = Counter()
    for instruction in instructions:
        place = (instruction.env, instruction.difficulty)
        total[place] += 1
        covered[place] += instruction.item_id in present
    return [Coverage(*place, total[place], covered[place]) for place in sorted(total, key=lambda place: (place[0], _natural(place[1])))]


def head(items: Iterable[_Item], environments: Sequence[str], limit: int | None = None) -> list[_Item]:
    """The items of the named environments, in their order, at most `limit` instructions of each (all where None)."""
    taken: dict[str, dict[str, None]] = {env: {} for env in environments}
    chosen = []
    for item in items:
        if item.env in taken:
            ids = taken[item.env]
            if item.item_id in ids or limit is None or len(ids) < limit:
                ids[item.item_id] = None
                chosen.append(item)
    return chosen


def _natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which "5-9" stands before "10-14"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text) if part]
