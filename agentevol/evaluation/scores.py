"""Scores with their uncertainty, and paired tests between two policies on the same instructions.

Invariant: an episode that a fault ended is counted as an error and enters no rate, no mean and no pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan, nan, sqrt
from typing import TypeVar

from agentevol.data.trajectory import Trajectory

OVERALL = "overall"
_Z = 1.959963984540054  # the 97.5 % point of the normal distribution
_RESAMPLES = 10_000

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Score:
    """A policy on the `n` episodes of an environment that no fault ended; `errors` are those that one did.

    `success` is a rate with its Wilson interval, `reward` a mean with its bootstrap interval (both 95 %), `rounds` a mean.
    All are NaN where n is 0.
    """

    n: int
    successes: int
    success: float
    success_low: float
    success_high: float
    reward: float
    reward_low: float
    reward_high: float
    rounds: float
    errors: int

    def to_dict(self) -> dict[str, float | int | None]:
        """As JSON values: NaN becomes null."""
        return _without_nan(asdict(self))


def _without_nan(figures: Mapping[str, float | int]) -> dict[str, float | int | None]:
    return {name: None if isnan(value) else value for name, value in figures.items()}


def score(trajectories: Iterable[Trajectory]) -> dict[str, Score]:
    """The score per environment, by name, and "overall" over all episodes alike (so that larger environments weigh more)."""
    return _per_environment(list(trajectories), lambda trajectory: trajectory.env, _score)


def drop_incomplete_overall(found: Mapping[str, _Result], n: Callable[[_Result], int], environments: Iterable[str]) -> dict[str, _Result]:
    """Scores by name, without the overall one where environments are missing: it would stand beside those of other instructions."""
    whole = {env for env, one in found.items() if n(one)} >= set(environments)
    return {env: one for env, one in found.items() if whole or env != OVERALL}


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a rate (Wilson 1927). Without any observation it is all of [0, 1]."""
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}: expected 0 <= successes <= n")
    if n == 0:
        return 0.0, 1.0
    rate, z2 = successes / n, _Z * _Z
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def bootstrap_mean(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a mean; the same values and seed give the same interval. Raises ValueError for none."""
    import numpy as np

    if not values:
        raise ValueError("no values to take the mean of")
    sample = np.asarray(values, dtype=np.float64)
    if sample.min() == sample.max():
        return float(sample[0]), float(sample[0])
    generator = np.random.default_rng(seed)
    means = [sample[generator.integers(sample.size, size=(500, sample.size))].mean(axis=1) for _ in range(_RESAMPLES // 500)]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def _per_environment(items: list[_Item], env: Callable[[_Item], str], measure: Callable[[list[_Item]], _Result]) -> dict[str, _Result]:
    groups: dict[str, list[_Item]] = {}
    for item in items:
        groups.setdefault(env(item), []).append(item)
    return {name: measure(groups[name]) for name in sorted(groups)} | {OVERALL: measure(items)}


def _score(trajectories: list[Trajectory]) -> Score:
    played = [trajectory for trajectory in trajectories if trajectory.status != "error"]
    n, errors = len(played), len(trajectories) - len(played)
    if not n:
        return Score(0, 0, nan, nan, nan, nan, nan, nan, nan, errors)
    successes = sum(trajectory.success for trajectory in played)
    rewards = [trajectory.reward for trajectory in played]
    rounds = sum(trajectory.rounds for trajectory in played) / n
    return Score(n, successes, successes / n, *wilson(successes, n), sum(rewards) / n, *bootstrap_mean(rewards), rounds, errors)
