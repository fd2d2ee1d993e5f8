"""Filtering: the episodes of an exploration that a policy learns from, by default the successful ones.

Invariant: the order of the rows depends on the order of the input only, and every dropped episode is counted under one reason. Rows are
streamed; only a digest of each stays in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial

from agentevol.data.coverage import Coverage, coverage
from agentevol.data.episode_reward import episode_reward
from agentevol.data.trajectory import Trajectory
from agentevol.settings.filter import DEFAULT_FILTER, FilterParams
from envs.base import Instruction
from envs.registry import environment_class


@dataclass(frozen=True, slots=True)
class FilterReport:
    """The result of a filter. `dropped`: counts by reason: error, truncated (and not wanted), failed, reward too low, duplicate, over
    the cap."""

    episodes: int
    kept: int
    dropped: dict[str, int]
    coverage: list[Coverage]


class RewardFilter:
    """Keeps the episodes that `settings` names (by default the successes, by the success rule of their environment), without duplicates
    unless `settings.deduplicate` is false; at most `cap` per instruction: the first ones, or those that `rank` chose.

    Episodes that ended in an error and episodes without an answer are dropped, whatever their reward. `report` covers the rows that have
    been read so far.
    """

    def __init__(self, cap: int | None = None, settings: FilterParams = DEFAULT_FILTER) -> None:
        self.cap, self.settings = cap, settings
        self._dropped: Counter[str] = Counter(dict.fromkeys(("error", "failed", "truncated", "duplicate", "over the cap"), 0))
        self._explored: dict[str, Instruction] = {}
        self._kept: Counter[str] = Counter()
        self._seen: set[bytes] = set()
        self._objective = settings.objective_weights
        self._chosen: set[int] | None = None
        """The rows that a cap leaves, by their position; None for the first ones of each instruction."""
        self._ranked: set[int] = set()
        """The positions of the rows that `rank` found wanted."""

    @property
    def needs_ranking(self) -> bool:
        """Whether `rank` must see the rows before `keep`: a cap takes the best by an objective, and the first without one."""
        return self.cap is not None and self._objective is not None

    def rank(self, trajectories: Iterable[Trajectory]) -> None:
        """Choose the `cap` episodes of each instruction with the highest reward, among equals the first; `keep` then gets the same rows."""
        candidates: dict[str, list[tuple[float, int]]] = {}
        seen: set[bytes] = set()
        for position, trajectory in enumerate(trajectories):
            reward = cache(partial(episode_reward, trajectory, self._objective))  # it may have to play the episode again
            if trajectory.status == "error" or not self._is_wanted(trajectory, reward):
                continue
            self._ranked.add(position)
            key = bytes.fromhex(trajectory.text_key())
            if not (self.settings.deduplicate and key in seen):
                seen.add(key)
                candidates.setdefault(trajectory.item_id, []).append((-reward(), position))
        self._chosen = {position for ranked in candidates.values() for _, position in sorted(ranked)[: self.cap]}

    def keep(self, trajectories: Iterable[Trajectory]) -> Iterator[Trajectory]:
        """The kept episodes, in order."""
        for position, trajectory in enumerate(trajectories):
            if trajectory.item_id not in self._explored:
                self._explored[trajectory.item_id] = environment_class(trajectory.env).instruction(trajectory.item_id)
            reason = self._reason_to_drop(trajectory, position)
            if reason is None:
                self._kept[trajectory.item_id] += 1
                yield trajectory
            else:
                self._dropped[reason] += 1

    def report(self) -> FilterReport:
        """The counts so far, and the coverage of the explored instructions."""
        kept, dropped = self._kept.total(), dict(self._dropped)
        return FilterReport(kept + sum(dropped.values()), kept, dropped, coverage(self._kept, self._explored.values()))

    def _reason_to_drop(self, trajectory: Trajectory, position: int) -> str | None:
        if trajectory.status == "error":
            return "error"
        if self._chosen is not None:
            is_wanted = position in self._ranked
        else:
            is_wanted = self._is_wanted(trajectory, partial(episode_reward, trajectory, self._objective))
        if not is_wanted:
            low = "reward too low" if self.settings.min_reward else "failed"
            return "truncated" if trajectory.status == "truncated" else low
        key = bytes.fromhex(trajectory.text_key())
        if self.settings.deduplicate and key in self._seen:
            return "duplicate"
        if self._chosen is not None:
            self._seen.add(key)
            return None if position in self._chosen else "over the cap"
        if self.cap is not None and self._kept[trajectory.item_id] >= self.cap:
            return "over the cap"
        self._seen.add(key)
        return None

    def _is_wanted(self, trajectory: Trajectory, reward: Callable[[], float]) -> bool:
        if self.settings.keep == "success":
            return environment_class(trajectory.env).succeeded(trajectory.reward)
        if not any(message.role == "assistant" for message in trajectory.messages):
            return False
        return self.settings.keep == "all" or ((value := reward()) > 0 and value >= self.settings.min_reward)


def filter_by_reward(
    trajectories: Iterable[Trajectory], *, cap: int | None = None, settings: FilterParams = DEFAULT_FILTER
) -> tuple[list[Trajectory], FilterReport]:
    """The trajectories that a RewardFilter keeps, as a list, and its report."""
    rows = list(trajectories)
    reward_filter = RewardFilter(cap, settings)
    if reward_filter.needs_ranking:
        reward_filter.rank(rows)
    return list(reward_filter.keep(rows)), reward_filter.report()
