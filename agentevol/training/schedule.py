"""The learning rate schedule of a training, and its recorded loss curve.

Invariant: both depend only on the number of steps and on what they are given, so a resumed training continues them exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LearningRateSchedule:
    """Linear warm-up to `peak` over a share of the `steps`, then linear decay to `min_ratio` times the peak."""

    peak: float
    steps: int
    warmup_ratio: float = 0.05
    min_ratio: float = 0.1

    def at(self, step: int) -> float:
        """The learning rate of step number `step`, counted from 0."""
        warmup_steps = max(1, math.ceil(self.steps * self.warmup_ratio))
        if step < warmup_steps:
            return self.peak * (step + 1) / warmup_steps
        remaining = (self.steps - step) / max(1, self.steps - warmup_steps)
        return self.peak * (self.min_ratio + (1 - self.min_ratio) * max(0.0, remaining))


class LossCurve:
    """The loss over the steps as [step, loss] pairs, about a hundred of them; each loss is the mean since the pair before."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.points: list[list[float]] = []
        self.recent: list[float] = []

    def add(self, step: int, loss: float) -> None:
        """Record the loss of step number `step`, counted from 1."""
        self.recent.append(loss)
        if step % max(1, self.steps // 100) == 0 or step == self.steps:
            self.points.append([step, round(sum(self.recent) / len(self.recent), 5)])
            self.recent = []
