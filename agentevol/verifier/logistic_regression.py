"""Logistic regression with an L2 penalty, fitted by Newton's method: deterministic, and without a learning rate.

Invariant: the fitted model depends on the rows and their labels alone, not on their order beyond rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MAX_STEPS, _TOLERANCE = 50, 1e-8

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LogisticRegression:
    """P(label = 1) = sigmoid((x - mean) / scale @ weights + bias)."""

    mean: Matrix
    scale: Matrix
    weights: Matrix
    bias: float

    def probabilities(self, features: Matrix) -> Matrix:
        """[rows], of features [rows, columns]."""
        return _sigmoid(((features - self.mean) / self.scale) @ self.weights + self.bias)


def fit(features: Matrix, labels: Matrix, penalty: float) -> LogisticRegression:
    """The model with the highest likelihood minus `penalty` / 2 * |weights|^2, over standardized features [rows, columns].

    The bias is not penalized. With labels of one kind alone there is nothing to fit: the model then says (k + 1) / (n + 2) for every row
    (Laplace's rule of succession). Raises ValueError without a row or for a penalty of 0 or less.
    """
    n = len(labels)
    if not n or penalty <= 0:
        raise ValueError(f"{n} rows and the penalty {penalty:g} given; allowed: at least one row and a penalty above 0")
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-8, scale, 1.0)
    positives = float(labels.sum())
    smoothed = (positives + 1) / (n + 2)
    bias = float(np.log(smoothed / (1 - smoothed)))
    weights = np.zeros(features.shape[1])
    if positives in (0, n):
        return LogisticRegression(mean, scale, weights, bias)
    inputs = np.hstack([(features - mean) / scale, np.ones((n, 1))])
    penalties = np.r_[np.full(features.shape[1], penalty), 0.0]
    parameters = np.r_[weights, bias]
    for _ in range(_MAX_STEPS):
        predicted = _sigmoid(inputs @ parameters)
        gradient = inputs.T @ (labels - predicted) - penalties * parameters
        hessian = (inputs * (predicted * (1 - predicted))[:, None]).T @ inputs + np.diag(penalties + 1e-9)
        step = np.linalg.solve(hessian, gradient)
        length, reached = 1.0, _objective(inputs, labels, penalties, parameters)
        while length > 1e-4 and _objective(inputs, labels, penalties, parameters + length * step) < reached:
            length /= 2
        parameters = parameters + length * step
        if np.abs(length * step).max() < _TOLERANCE:
            break
    return LogisticRegression(mean, scale, parameters[:-1], float(parameters[-1]))


def _objective(inputs: Matrix, labels: Matrix, penalties: Matrix, parameters: Matrix) -> float:
    scores = inputs @ parameters
    likelihood = labels @ scores - np.logaddexp(0, scores).sum()
    return float(likelihood - 0.5 * (penalties * parameters**2).sum())


def _sigmoid(values: Matrix) -> Matrix:
    result: Matrix = np.exp(-np.logaddexp(0, -values))
    return result
