"""What is learnt from: exploration filtered by reward, then merged with the expert set.

Invariant: the order of the rows depends on the order of the input alone, and everything dropped is counted under its reason. Rows pass by
one at a time; what stays in memory of each is a digest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agentevol.trajectory import Trajectory
from agentevol.values import Merge
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


class RewardFilter:
    """The successes, by their environment's one rule on the reward; at most `cap` different ones per instruction, the first ones.

    Episodes that a fault ended are dropped whatever their reward. `report` is of the rows that have passed by.
    """

    def __init__(self, cap: int | None = None) -> None:
        self.cap = cap
        self._dropped: Counter[str] = Counter(dict.fromkeys(("error", "failed", "truncated", "duplicate", "over the cap"), 0))
        self._explored: dict[str, Instruction] = {}
        self._kept: Counter[str] = Counter()
        self._seen: set[bytes] = set()

    def keep(self, trajectories: Iterable[Trajectory]) -> Iterator[Trajectory]:
        """Those that stay, in order."""
        for trajectory in trajectories:
            if trajectory.item_id not in self._explored:
                self._explored[trajectory.item_id] = environment_class(trajectory.env).instruction(trajectory.item_id)
            reason = self._reason_to_drop(trajectory)
            if reason is None:
                self._kept[trajectory.item_id] += 1
                yield trajectory
            else:
                self._dropped[reason] += 1

    def report(self) -> FilterReport:
        """Coverage is over the instructions that were explored."""
        kept, dropped = self._kept.total(), dict(self._dropped)
        return FilterReport(kept + sum(dropped.values()), kept, dropped, coverage(self._kept, self._explored.values()))

    def _reason_to_drop(self, trajectory: Trajectory) -> str | None:
        if trajectory.status == "error":
            return "error"
        if not environment_class(trajectory.env).succeeded(trajectory.reward):
            return "truncated" if trajectory.status == "truncated" else "failed"
        key = bytes.fromhex(trajectory.text_key())
        if key in self._seen:
            return "duplicate"
        if self.cap is not None and self._kept[trajectory.item_id] >= self.cap:
            return "over the cap"
        self._seen.add(key)
        return None


class Merger:
    """The training set of an iteration from the expert set and the kept explorations.

    "initial": the expert set and the last exploration; "cumulative": the expert set and all of them; "none": the last alone.
    Where rows are duplicates (the same instruction, the same answers), the first stays. `report` is of the rows that have passed by.
    """

    def __init__(self, how: Merge) -> None:
        self.how = how
        self._taken = {"initial": 0, "explored": 0}
        self._seen: set[bytes] = set()

    def merge(self, initial: Iterable[Trajectory], explored: Sequence[Iterable[Trajectory]]) -> Iterator[Trajectory]:
        """`explored`: one stream per iteration, oldest first. What the rule leaves out is not read."""
        if self.how != "none":
            yield from self._different(initial, "initial")
        for iteration in explored if self.how == "cumulative" else explored[-1:]:
            yield from self._different(iteration, "explored")

    def report(self) -> MergeReport:
        initial, explored = self._taken["initial"], self._taken["explored"]
        rows = len(self._seen)
        return MergeReport(self.how, initial, explored, initial + explored - rows, rows)

    def _different(self, trajectories: Iterable[Trajectory], source: str) -> Iterator[Trajectory]:
        for trajectory in trajectories:
            self._taken[source] += 1
            key = bytes.fromhex(trajectory.text_key())
            if key not in self._seen:
                self._seen.add(key)
                yield trajectory


def keep_by_reward(trajectories: Iterable[Trajectory], *, cap: int | None = None) -> tuple[list[Trajectory], FilterReport]:
    """What a RewardFilter keeps of a set in memory, and its report."""
    chosen = RewardFilter(cap)
    return list(chosen.keep(trajectories)), chosen.report()


def merge(initial: Iterable[Trajectory], explored: Sequence[Iterable[Trajectory]], how: Merge) -> tuple[list[Trajectory], MergeReport]:
    """What a Merger makes of sets in memory, and its report."""
    merger = Merger(how)
    return list(merger.merge(initial, explored)), merger.report()


def coverage(present: Collection[str], instructions: Iterable[Instruction]) -> list[Coverage]:
    """Per environment and difficulty, by name (with numbers in their order), how many of the instructions are `present`, by their ids."""
    total: Counter[tuple[str, str]] = Counter()
    covered: Counter[tuple[str, str]] = Counter()
    for instruction in instructions:
        place = (instruction.env, instruction.difficulty)
        total[place] += 1
        covered[place] += instruction.item_id in present
    return [Coverage(*place, total[place], covered[place]) for place in sorted(total, key=lambda place: (place[0], _natural(place[1])))]


def head(items: Iterable[_Item], environments: Sequence[str], limit: int | None = None) -> list[_Item]:
    """The items of the named environments, in their order, at most `limit` instructions of each (all where None)."""
    return list(stream_head(items, environments, limit))


def stream_head(items: Iterable[_Item], environments: Sequence[str], limit: int | None = None) -> Iterator[_Item]:
    """The same one by one."""
    taken: dict[str, dict[str, None]] = {env: {} for env in environments}
    for item in items:
        if item.env in taken:
            ids = taken[item.env]
            if item.item_id in ids or limit is None or len(ids) < limit:
                ids[item.item_id] = None
                yield item


def _natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which "5-9" stands before "10-14"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text) if part]
