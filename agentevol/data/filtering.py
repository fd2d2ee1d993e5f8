"""What is learnt from: exploration filtered by reward, then merged with the expert set.

Invariant: the order of the rows depends on the order of the input alone, and everything dropped is counted under its reason. Rows pass by
one at a time; what stays in memory of each is a digest.
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
    """What a filter did. `dropped` counts by reason: error, truncated (and failed), failed, duplicate, over the cap."""

    episodes: int
    kept: int
    dropped: dict[str, int]
    coverage: list[Coverage]


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


def filter_by_reward(trajectories: Iterable[Trajectory], *, cap: int | None = None) -> tuple[list[Trajectory], FilterReport]:
    """What a RewardFilter keeps of a set in memory, and its report."""
    chosen = RewardFilter(cap)
    return list(chosen.keep(trajectories)), chosen.report()
