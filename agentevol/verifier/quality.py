"""How good a verifier's predictions are, per environment and overall: AUC, Brier score and calibration error, on held-out instructions.

Invariant: an episode that ended in an error counts nowhere. The interval of the AUC is over instructions, whose samples belong together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.scores import nan_to_none, per_environment

_RESAMPLES, _BINS = 1_000, 10


@dataclass(frozen=True, slots=True)
class VerifierQuality:
    """Of `n` episodes, `successes` of which succeeded.

    `auc`: the probability that a success gets a higher prediction than a failure (ties count half), with its 95 % bootstrap interval over
    instructions; NaN where all episodes have the same outcome. `rounds_auc`: the AUC of the number of rounds alone, fewer being better: an
    environment that ends an episode at its success shows the outcome by the length, and a verifier should be measured by that. `brier`:
    the mean squared error of the predictions; `base_brier`: that of predicting the success rate itself. `calibration_error`: the mean
    distance between the predictions and the success rate in ten bins of equal size (expected calibration error). `mean_prediction`: to be
    compared with the success rate.
    """

    n: int
    successes: int
    auc: float
    auc_low: float
    auc_high: float
    rounds_auc: float
    brier: float
    base_brier: float
    calibration_error: float
    mean_prediction: float

    def to_dict(self) -> dict[str, float | int | None]:
        """The fields as JSON values: NaN becomes null."""
        return nan_to_none(asdict(self))


def verifier_quality(trajectories: Sequence[Trajectory], predictions: Sequence[float]) -> dict[str, VerifierQuality]:
    """The quality in each environment, by name, and "overall". `predictions`: one per trajectory."""
    pairs = [pair for pair in zip(trajectories, predictions, strict=True) if pair[0].status != "error"]
    return per_environment(pairs, lambda pair: pair[0].env, _measure)


def auc(labels: NDArray[np.float64], predictions: NDArray[np.float64]) -> float:
    """The area under the ROC curve, by the rank sum; NaN without both kinds of labels."""
    from scipy.stats import rankdata

    positives = labels.sum()
    negatives = len(labels) - positives
    if not positives or not negatives:
        return nan
    ranks = rankdata(predictions)
    return float((ranks[labels > 0].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _measure(pairs: list[tuple[Trajectory, float]]) -> VerifierQuality:
    if not pairs:
        return VerifierQuality(0, 0, nan, nan, nan, nan, nan, nan, nan, nan)
    labels = np.array([trajectory.success for trajectory, _ in pairs], dtype=np.float64)
    predictions = np.array([prediction for _, prediction in pairs], dtype=np.float64)
    rate = labels.mean()
    low, high = _auc_interval([trajectory.item_id for trajectory, _ in pairs], labels, predictions)
    return VerifierQuality(
        n=len(pairs),
        successes=int(labels.sum()),
        auc=auc(labels, predictions),
        auc_low=low,
        auc_high=high,
        rounds_auc=auc(labels, -np.array([trajectory.rounds for trajectory, _ in pairs], dtype=np.float64)),
        brier=float(((predictions - labels) ** 2).mean()),
        base_brier=float(rate * (1 - rate)),
        calibration_error=_calibration_error(labels, predictions),
        mean_prediction=float(predictions.mean()),
    )


def _auc_interval(item_ids: list[str], labels: NDArray[np.float64], predictions: NDArray[np.float64]) -> tuple[float, float]:
    """Percentiles over samples of instructions; samples with one kind of label have no AUC and are left out. NaN if too many are."""
    _, instruction_of = np.unique(item_ids, return_inverse=True)
    rows_of = [np.flatnonzero(instruction_of == number) for number in range(instruction_of.max() + 1)]
    generator, values = np.random.default_rng(0), []
    for _ in range(_RESAMPLES):
        rows = np.concatenate([rows_of[number] for number in generator.integers(len(rows_of), size=len(rows_of))])
        value = auc(labels[rows], predictions[rows])
        if not np.isnan(value):
            values.append(value)
    if len(values) < _RESAMPLES // 2:
        return nan, nan
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _calibration_error(labels: NDArray[np.float64], predictions: NDArray[np.float64]) -> float:
    bins = np.array_split(np.argsort(predictions, kind="stable"), min(_BINS, len(labels)))
    return float(sum(len(rows) * abs(predictions[rows].mean() - labels[rows].mean()) for rows in bins) / len(labels))
