"""Paired tests of two policies on the same instructions.

Invariant: an episode that ended in an error is part of no pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb, nan

from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.scores import nan_to_none, per_environment


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Policy a compared with policy b on `n` common episodes: successes of only one of them, and the exact two-sided McNemar p-value.

    `difference` is the success rate of a minus that of b, NaN if n is 0.
    """

    n: int
    only_a: int
    only_b: int
    p_value: float
    difference: float

    def to_dict(self) -> dict[str, float | int | None]:
        """The fields as JSON values: NaN becomes null."""
        return nan_to_none(asdict(self))


def mcnemar_per_environment(a: Sequence[Trajectory], b: Sequence[Trajectory]) -> dict[str, PairedTest]:
    """`mcnemar` of each environment that both policies played, by name, and "overall"."""
    return per_environment(paired_episodes(a, b), lambda pair: pair[0].env, _mcnemar)


def mcnemar(a: Sequence[Trajectory], b: Sequence[Trajectory]) -> PairedTest:
    """The exact two-sided McNemar test of success, on the (item_id, sample) pairs that both policies played without an error.

    Raises ValueError if one side has the same (item_id, sample) twice.
    """
    return _mcnemar(paired_episodes(a, b))


def mcnemar_from_counts(n: int, only_a: int, only_b: int) -> PairedTest:
    """The exact two-sided McNemar test from its counts: in `only_a` of `n` pairs only a succeeded, in `only_b` only b."""
    discordant = only_a + only_b
    tail = sum(comb(discordant, count) for count in range(min(only_a, only_b) + 1))
    return PairedTest(n, only_a, only_b, min(1.0, 2 * tail / 2**discordant), (only_a - only_b) / n if n else nan)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's step-down correction for multiple tests (Holm 1979), in the given order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted


def level_of_test(number: int, level: float) -> float:
    """The significance level of the `number`-th test (from 1) of a sequence without end, in which each is decided when it comes.

    level / (number (number + 1)): the levels of all tests add up to `level`, so that is the most that the probability of any false claim
    can be (alpha spending; the union bound).
    """
    return level / (number * (number + 1))


def paired_episodes(a: Sequence[Trajectory], b: Sequence[Trajectory]) -> list[tuple[Trajectory, Trajectory]]:
    """The (item_id, sample) pairs that both policies played without an error. Raises ValueError if one side has one of them twice."""
    left, right = _by_episode(a), _by_episode(b)
    return [(trajectory, right[key]) for key, trajectory in left.items() if key in right]


def _by_episode(trajectories: Sequence[Trajectory]) -> dict[tuple[str, int], Trajectory]:
    by_key: dict[tuple[str, int], Trajectory] = {}
    for trajectory in trajectories:
        key = (trajectory.item_id, trajectory.sample)
        if key in by_key:
            raise ValueError(
                f"{trajectory.item_id}, sample {trajectory.sample} is given twice; give the episodes of one policy and iteration"
            )
        by_key[key] = trajectory
    return {key: trajectory for key, trajectory in by_key.items() if trajectory.status != "error"}


def _mcnemar(pairs: list[tuple[Trajectory, Trajectory]]) -> PairedTest:
    only_a = sum(a.success and not b.success for a, b in pairs)
    only_b = sum(b.success and not a.success for a, b in pairs)
    return mcnemar_from_counts(len(pairs), only_a, only_b)
