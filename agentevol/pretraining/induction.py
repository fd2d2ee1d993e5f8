"""First lesson of the base model: copying from its own context (induction), before any words.

Sequences of random tokens in which random chunks of the past come back; only the repeated tokens are learnt from, so nothing about any
world or policy is in here. The length grows once the shorter one is mastered: long sequences from the start never get going. Rows take
turns at a small, a middle and the whole alphabet: in the small one copying is found within some hundred steps, in the whole one alone not
in thousands.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from agentevol.training.optimizer import IGNORE_INDEX, Optimizer
from agentevol.training.padding import Batch

CHUNK = (4, 12)
LENGTHS = (24, 48, 96, 192, 384, 768)
ALPHABETS = (48, 256)
"""Sizes of the alphabets that stand beside the whole one; each is its beginning."""
MASTERED = 0.95
"""Loss (nats per repeated token) at which the next length follows."""


def sequence(rng: np.random.Generator, length: int, low: int, high: int) -> tuple[list[int], list[bool]]:
    """One row of tokens in [low, high) and which of them repeat a chunk of the past (its first token, the cue, excluded)."""
    ids = [int(token) for token in rng.integers(low, high, size=max(CHUNK[0] * 2, length // 3))]
    learnt = [False] * len(ids)
    while len(ids) < length:
        size = int(rng.integers(CHUNK[0], CHUNK[1] + 1))
        if rng.random() < 0.7:
            start = int(rng.integers(0, max(1, len(ids) - size)))
            chunk = ids[start : start + size]
            learnt += [False] + [True] * (len(chunk) - 1)
        else:
            chunk = [int(token) for token in rng.integers(low, high, size=size // 2)]
            learnt += [False] * len(chunk)
        ids += chunk
    return ids[:length], learnt[:length]


def batch(rng: np.random.Generator, rows: int, length: int, low: int, *highs: int) -> Batch:
    """`rows` sequences of tokens from `low` on; the alphabets end below each of `highs` in turn."""
    drawn = [sequence(rng, length, low, highs[row % len(highs)]) for row in range(rows)]
    ids = torch.tensor([row for row, _ in drawn])
    learnt = torch.tensor([flags for _, flags in drawn])
    return Batch(ids, torch.where(learnt, ids, torch.full_like(ids, IGNORE_INDEX)), torch.ones(rows))


def teach(
    optimizer: Optimizer,
    rng: np.random.Generator,
    *,
    low: int,
    high: int,
    tokens_per_batch: int,
    max_steps: int,
    learning_rate: float,
    report: Callable[[int, int, float], None] | None = None,
) -> list[list[float]]:
    """Run the curriculum; returns [step, length, loss] at each report. Stops after the last length or at `max_steps`."""
    curve: list[list[float]] = []
    level, recent = 0, 10.0
    highs = [*(min(low + size, high) for size in ALPHABETS), high]
    for step in range(max_steps):
        length = LENGTHS[level]
        rows = max(4, tokens_per_batch // length)
        rate = learning_rate * min(1.0, (step + 1) / 100)
        loss = optimizer.step([batch(rng, rows, length, low, *highs)], rate)
        recent = 0.9 * recent + 0.1 * loss
        if step % 25 == 0:
            curve.append([step, length, round(recent, 4)])
            if report is not None:
                report(step, length, recent)
        if recent < MASTERED:
            level, recent = level + 1, recent + 1.0
            if level == len(LENGTHS):
                break
    return curve
