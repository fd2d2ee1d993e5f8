"""Success rates, mean rewards and mean progress with their 95 % intervals, per environment and overall.

Invariant: an episode that ended in an error is counted as an error and is part of no rate and no mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan, nan, sqrt
from typing import Any, TypeVar

from agentevol.data.trajectory import Trajectory

OVERALL = "overall"
_Z = 1.959963984540054  # the 97.5 % point of the normal distribution
_RESAMPLES = 10_000

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a policy on `n` episodes of an environment; `errors` more episodes ended in an error and are not among the `n`.

    `success` is a rate in [0, 1] with its Wilson interval, `reward` a mean with its bootstrap interval (both 95 %), `rounds` a mean.
    All of them are NaN if n is 0. `progress` is the mean over the `progress_n` of these episodes that have one, with its interval
    (`mean_share_interval`); NaN if none has.
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
    progress: float = nan
    progress_low: float = nan
    progress_high: float = nan
    progress_n: int = 0

    def to_dict(self) -> dict[str, float | int | None]:
        """The fields as JSON values: NaN becomes null. Those of the progress are left out if no episode has one."""
        values = asdict(self)
        return nan_to_none({name: value for name, value in values.items() if self.progress_n or not name.startswith("progress")})


def errors_as_failures(score: Score) -> Score:
    """The score if the episodes that ended in an error had failed with reward 0: an error is then no advantage over a failure.

    The interval of the reward is NaN: it needs the episodes.
    """
    n = score.n + score.errors
    if not score.errors or not n:
        return score
    reward = 0.0 if isnan(score.reward) else score.reward * score.n / n
    rounds = score.rounds  # of the episodes that were played
    return Score(n, score.successes, score.successes / n, *wilson(score.successes, n), reward, nan, nan, rounds, 0)


def success_with_errors_failed(values: Mapping[str, Any]) -> float | None:
    """The success rate with errors as failures, from the fields of a Score as JSON values; None without an error."""
    n, errors = values["n"], values["errors"]
    return (values["success"] or 0.0) * n / (n + errors) if errors else None


def nan_to_none(values: Mapping[str, float | int]) -> dict[str, float | int | None]:
    """The values with None in the place of NaN, which JSON does not have."""
    return {name: None if isnan(value) else value for name, value in values.items()}


def score(trajectories: Iterable[Trajectory]) -> dict[str, Score]:
    """The score of each environment, by name, and "overall": all episodes have the same weight, so larger environments count more."""
    return per_environment(list(trajectories), lambda trajectory: trajectory.env, _score)


def per_environment(items: list[_Item], env: Callable[[_Item], str], measure: Callable[[list[_Item]], _Result]) -> dict[str, _Result]:
    """`measure` of the items of each environment, in the order of their names, and of all items as "overall"."""
    groups: dict[str, list[_Item]] = {}
    for item in items:
        groups.setdefault(env(item), []).append(item)
    return {name: measure(groups[name]) for name in sorted(groups)} | {OVERALL: measure(items)}


def drop_incomplete_overall(scores: Mapping[str, _Result], n: Callable[[_Result], int], environments: Iterable[str]) -> dict[str, _Result]:
    """The scores by name, without the overall one if an environment has no scored episode: it would be of fewer instructions than
    the overall scores it is compared with."""
    complete = {env for env, score in scores.items() if n(score)} >= set(environments)
    return {env: score for env, score in scores.items() if complete or env != OVERALL}


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a rate (Wilson 1927): (low, high). Without observations it is (0, 1)."""
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}: expected 0 <= successes <= n")
    if n == 0:
        return 0.0, 1.0
    rate, z2 = successes / n, _Z * _Z
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def bootstrap_mean(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a mean: (low, high). The same values and seed give the same interval.

    Raises ValueError if there are no values.
    """
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


def mean_share_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of shares in [0, 1]: bootstrap, and Wilson's where all values are equal, as a bootstrap of equal values
    has no width. Raises ValueError if there are no values."""
    low, high = bootstrap_mean(values)
    if low < high:
        return low, high
    n = len(values)
    return low * wilson(n, n)[0], high + (1 - high) * wilson(0, n)[1]


def _score(trajectories: list[Trajectory]) -> Score:
    scored = [trajectory for trajectory in trajectories if trajectory.status != "error"]
    n, errors = len(scored), len(trajectories) - len(scored)
    if not n:
        return Score(0, 0, nan, nan, nan, nan, nan, nan, nan, errors)
    successes = sum(trajectory.success for trajectory in scored)
    rewards = [trajectory.reward for trajectory in scored]
    rounds = sum(trajectory.rounds for trajectory in scored) / n
    progress = [trajectory.progress for trajectory in scored if trajectory.progress is not None]
    mean_progress = (sum(progress) / len(progress), *mean_share_interval(progress), len(progress)) if progress else ()
    success = (successes / n, *wilson(successes, n))
    return Score(n, successes, *success, sum(rewards) / n, *bootstrap_mean(rewards), rounds, errors, *mean_progress)
