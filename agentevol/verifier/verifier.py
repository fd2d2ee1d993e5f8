"""The verifier: the probability that an episode succeeded, predicted from its text alone.

Invariant: no prediction comes from a model that has seen the same instruction. The instructions are divided into folds by a hash of their
ids; those of a fold are predicted by a model that was fitted to the episodes of the others (cross-fitting). The figures of
`verifier_quality` are therefore about held-out instructions, and so is every learned reward.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from agentevol.data.trajectory import Trajectory
from agentevol.verifier.features import Features
from agentevol.verifier.logistic_regression import fit

FOLDS = 5


def predict_success(trajectories: Sequence[Trajectory], features: Features, *, penalty: float) -> list[float]:
    """The probability that each episode succeeded, by a model that has seen no episode of its instruction.

    `features`: one row per trajectory. `penalty`: the L2 penalty of the logistic regression. Episodes that ended in an error are not
    fitted, and their prediction is 0. Without a second fold that has episodes, every prediction is 1/2.
    """
    names = sorted({trajectory.env for trajectory in trajectories})
    environments = np.array([[trajectory.env == name for name in names] for trajectory in trajectories], dtype=np.float64)
    inputs = np.hstack([features, environments.reshape(len(trajectories), len(names))])
    labels = np.array([trajectory.success for trajectory in trajectories], dtype=np.float64)
    usable = np.array([trajectory.status != "error" for trajectory in trajectories], dtype=bool)
    folds = np.array([fold_of(trajectory.item_id) for trajectory in trajectories], dtype=np.int64)
    predictions = np.full(len(trajectories), 0.5)
    for fold in range(FOLDS):
        held_out, others = folds == fold, (folds != fold) & usable
        if held_out.any() and others.any():
            predictions[held_out] = fit(inputs[others], labels[others], penalty).probabilities(inputs[held_out])
    predictions[~usable] = 0.0
    return [float(value) for value in predictions]


def fold_of(item_id: str) -> int:
    """The fold of an instruction: the same on every machine and in every iteration."""
    return int.from_bytes(hashlib.sha256(f"verifier:{item_id}".encode()).digest()[:8], "big") % FOLDS
