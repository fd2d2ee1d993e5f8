"""Scores with their uncertainty, and paired tests between two policies on the same instructions.

Invariant: an episode that a fault ended is counted as an error and enters no rate, no mean and no pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import comb, isnan, nan, sqrt
from typing import TypeVar

from agentevol.trajectory import Trajectory

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


@dataclass(frozen=True, slots=True)
class Paired:
    """Policy a against policy b on `n` common episodes: successes of only one of them, and the exact two-sided McNemar p-value.

    `difference` is a's success rate less b's, NaN where n is 0.
    """

    n: int
    only_a: int
    only_b: int
    p_value: float
    difference: float

    def to_dict(self) -> dict[str, float | int | None]:
        """As JSON values: NaN becomes null."""
        return _without_nan(asdict(self))


def _without_nan(figures: Mapping[str, float | int]) -> dict[str, float | int | None]:
    return {name: None if isnan(value) else value for name, value in figures.items()}


def score(trajectories: Iterable[Trajectory]) -> dict[str, Score]:
    """The score per environment, by name, and "overall" over all episodes alike (so that larger environments weigh more)."""
    return _per_environment(list(trajectories), lambda trajectory: trajectory.env, _score)


def of_all_or_none(found: Mapping[str, _Result], n: Callable[[_Result], int], environments: Iterable[str]) -> dict[str, _Result]:
    """Scores by name, without the overall one where environments are missing: it would stand beside those of other instructions."""
    whole = {env for env, one in found.items() if n(one)} >= set(environments)
    return {env: one for env, one in found.items() if whole or env != OVERALL}


def paired(a: Sequence[Trajectory], b: Sequence[Trajectory]) -> dict[str, Paired]:
    """`mcnemar` per environment that both have, by name, and "overall"."""
    return _per_environment(_pairs(a, b), lambda pair: pair[0].env, _mcnemar)


def mcnemar(a: Sequence[Trajectory], b: Sequence[Trajectory]) -> Paired:
    """The exact two-sided McNemar test of success on the episodes, by (item_id, sample), that both have without a fault.

    Raises ValueError when one side has the same episode twice.
    """
    return _mcnemar(_pairs(a, b))


def discordant(n: int, only_a: int, only_b: int) -> Paired:
    """The test from its counts: of `n` pairs, those in which only a, and only b, succeeded."""
    changed = only_a + only_b
    tail = sum(comb(changed, count) for count in range(min(only_a, only_b) + 1))
    return Paired(n, only_a, only_b, min(1.0, 2 * tail / 2**changed), (only_a - only_b) / n if n else nan)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of several p-values, in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = worst
    return adjusted


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


def _pairs(a: Sequence[Trajectory], b: Sequence[Trajectory]) -> list[tuple[Trajectory, Trajectory]]:
    left, right = _by_episode(a), _by_episode(b)
    return [(trajectory, right[key]) for key, trajectory in left.items() if key in right]


def _by_episode(trajectories: Sequence[Trajectory]) -> dict[tuple[str, int], Trajectory]:
    found: dict[tuple[str, int], Trajectory] = {}
    for trajectory in trajectories:
        key = (trajectory.item_id, trajectory.sample)
        if key in found:
            raise ValueError(
                f"{trajectory.item_id}, sample {trajectory.sample} is there twice: give the episodes of one policy and iteration"
            )
        found[key] = trajectory
    return {key: trajectory for key, trajectory in found.items() if trajectory.status != "error"}


def _mcnemar(pairs: list[tuple[Trajectory, Trajectory]]) -> Paired:
    only_a = sum(a.success and not b.success for a, b in pairs)
    only_b = sum(b.success and not a.success for a, b in pairs)
    return discordant(len(pairs), only_a, only_b)
