"""Filtering: the successful episodes of an exploration.

Invariant: the order of the rows depends on the order of the input only, and every dropped episode is counted under one reason. Rows are
streamed; only a digest of each stays in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agentevol.data.coverage import Coverage, coverage
from agentevol.data.trajectory import Trajectory
from envs.base import Instruction
from envs.registry import environment_class


@dataclass(frozen=True, slots=True)
class FilterReport:
    """The result of a filter. `dropped`: counts by reason: error, truncated (and failed), failed, duplicate, over the cap."""

    episodes: int
    kept: int
    dropped: dict[str, int]
    coverage: list[Coverage]


class RewardFilter:
    """Keeps the successful episodes, by the success rule of their environment; at most the first `cap` different ones per instruction.

    Episodes that ended in an error are dropped, whatever their reward. `report` covers the rows that have been read so far.
    """

    def __init__(self, cap: int | None = None) -> None:
        self.cap = cap
        self._dropped: Counter[str] = Counter(dict.fromkeys(("error", "failed", "truncated", "duplicate", "over the cap"), 0))
        self._explored: dict[str, Instruction] = {}
        self._kept: Counter[str] = Counter()
        self._seen: set[bytes] = set()

    def keep(self, trajectories: Iterable[Trajectory]) -> Iterator[Trajectory]:
        """The kept episodes, in order."""
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
        """The counts so far, and the coverage of the explored instructions."""
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


def filter_by_reward(trajectories: Iterable[Trajectory], *, cap: int | None = None) -> tuple[list[Trajectory], FilterReport]:
    """The trajectories that a RewardFilter keeps, as a list, and its report."""
    reward_filter = RewardFilter(cap)
    return list(reward_filter.keep(trajectories)), reward_filter.report()
