"""Rounds per success: what a success costs, per environment and overall, with a 95 % interval.

Invariant: all rounds of the scored episodes count, those of failures too; an episode that ended in an error counts nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, nan

from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.scores import per_environment

_RESAMPLES, _RESAMPLES_AT_ONCE = 10_000, 500


@dataclass(frozen=True, slots=True)
class RoundsPerSuccess:
    """`ratio`: rounds by successes of `n` episodes, with its percentile bootstrap interval over episodes.

    The ratio is infinite without a success, and NaN without an episode; `high` is infinite where too many samples have no success.
    """

    n: int
    ratio: float
    low: float
    high: float


def rounds_per_success(trajectories: Iterable[Trajectory], seed: int = 0) -> dict[str, RoundsPerSuccess]:
    """The rounds per success of each environment, by name, and "overall". The same episodes and seed give the same intervals."""
    scored = [trajectory for trajectory in trajectories if trajectory.status != "error"]
    return per_environment(scored, lambda trajectory: trajectory.env, lambda episodes: _measure(episodes, seed))


def _measure(episodes: Sequence[Trajectory], seed: int) -> RoundsPerSuccess:
    import numpy as np

    if not episodes:
        return RoundsPerSuccess(0, nan, nan, nan)
    rounds = np.array([episode.rounds for episode in episodes], dtype=np.float64)
    successes = np.array([episode.success for episode in episodes], dtype=np.float64)
    if not successes.any():
        return RoundsPerSuccess(len(episodes), inf, nan, inf)
    generator = np.random.default_rng(seed)
    ratios = []
    for _ in range(_RESAMPLES // _RESAMPLES_AT_ONCE):
        drawn = generator.integers(len(episodes), size=(_RESAMPLES_AT_ONCE, len(episodes)))
        won = successes[drawn].sum(axis=1)
        # 0 rounds (an opening that fills the context) for 0 successes are no success at any price, too.
        ratios.append(np.where(won > 0, rounds[drawn].sum(axis=1) / np.maximum(won, 1.0), inf))
    # "lower" and "higher" do not interpolate, which would make NaN of an infinite value.
    ordered = np.concatenate(ratios)
    low, high = np.percentile(ordered, 2.5, method="lower"), np.percentile(ordered, 97.5, method="higher")
    return RoundsPerSuccess(len(episodes), float(rounds.sum() / successes.sum()), float(low), float(high))
