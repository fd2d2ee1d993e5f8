"""Paired tests between two policies on the same instructions.

Invariant: an episode that an error ended enters no pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb, nan

from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.scores import _per_environment, _without_nan


@dataclass(frozen=True, slots=True)
class PairedTest:
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


def paired(a: Sequence[Trajectory], b: Sequence[Trajectory]) -> dict[str, PairedTest]:
    """`mcnemar` per environment that both have, by name, and "overall"."""
    return _per_environment(_pairs(a, b), lambda pair: pair[0].env, _mcnemar)


def mcnemar(a: Sequence[Trajectory], b: Sequence[Trajectory]) -> PairedTest:
    """The exact two-sided McNemar test of success on the episodes, by (item_id, sample), that both have without a fault.

    Raises ValueError when one side has the same episode twice.
    """
    return _mcnemar(_pairs(a, b))


def mcnemar_from_counts(n: int, only_a: int, only_b: int) -> PairedTest:
    """The test from its counts: of `n` pairs, those in which only a, and only b, succeeded."""
    changed = only_a + only_b
    tail = sum(comb(changed, count) for count in range(min(only_a, only_b) + 1))
    return PairedTest(n, only_a, only_b, min(1.0, 2 * tail / 2**changed), (only_a - only_b) / n if n else nan)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of several p-values, in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = worst
    return adjusted


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


def _mcnemar(pairs: list[tuple[Trajectory, Trajectory]]) -> PairedTest:
    only_a = sum(a.success and not b.success for a, b in pairs)
    only_b = sum(b.success and not a.success for a, b in pairs)
    return mcnemar_from_counts(len(pairs), only_a, only_b)
