"""The learning-rate schedule and the recorded loss curve of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning rate over `steps`: linear warm-up over a share of them, then linear decay to `min_ratio` of the peak."""

    peak: float
    steps: int
    warmup: float = 0.05
    min_ratio: float = 0.1

    def at(self, step: int) -> float:
        ramp = max(1, math.ceil(self.steps * self.warmup))
        if step < ramp:
            return self.peak * (step + 1) / ramp
        left = (self.steps - step) / max(1, self.steps - ramp)
        return self.peak * (self.min_ratio + (1 - self.min_ratio) * max(0.0, left))


class Curve:
    """The loss over the steps as [step, loss] pairs, about a hundred of them, each the mean since the one before."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.points: list[list[float]] = []
        self.recent: list[float] = []

    def add(self, step: int, loss: float) -> None:
        """The loss of step number `step`, counted from 1."""
        self.recent.append(loss)
        if step % max(1, self.steps // 100) == 0 or step == self.steps:
            self.points.append([step, round(sum(self.recent) / len(self.recent), 5)])
            self.recent = []
