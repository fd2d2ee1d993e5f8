"""First lesson of the base model: induction, i.e. copying from its own context, before any words.

The model reads sequences of random tokens in which random chunks of the past are repeated. Only the repeated tokens are in the loss, so the
lesson holds nothing about any environment or policy. The sequences get longer once the model copies well at the current length: training
that starts with long ones does not begin to learn. The rows of a batch alternate between a small, a middle and the full alphabet: in the
small one the model learns to copy within some hundred steps, in the full one alone not within thousands.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from agentevol.training.checkpoints import Checkpoint
from agentevol.training.optimizer import Optimizer
from agentevol.training.padding import IGNORE_INDEX, PaddedBatch

CHUNK = (4, 12)
"""The shortest and the longest repeated chunk, in tokens."""
LENGTHS = (24, 48, 96, 192, 384, 768)
"""The sequence lengths of the curriculum, in tokens."""
ALPHABETS = (48, 256)
"""The sizes of the alphabets besides the full one; each is the beginning of the full one."""
MASTERY_LOSS = 0.95
"""The loss (nats per repeated token) below which the next length follows."""
_REPORT_INTERVAL = 25
_WARMUP_STEPS = 100


def sequence(rng: np.random.Generator, length: int, low: int, high: int) -> tuple[list[int], list[bool]]:
    """`length` token ids in [low, high) and their loss mask: the tokens of repeated chunks, without the first of each, which is the cue."""
    ids = [int(token) for token in rng.integers(low, high, size=max(CHUNK[0] * 2, length // 3))]
    loss_mask = [False] * len(ids)
    while len(ids) < length:
        size = int(rng.integers(CHUNK[0], CHUNK[1] + 1))
        if rng.random() < 0.7:
            start = int(rng.integers(0, max(1, len(ids) - size)))
            chunk = ids[start : start + size]
            loss_mask += [False] + [True] * (len(chunk) - 1)
        else:
            chunk = [int(token) for token in rng.integers(low, high, size=size // 2)]
            loss_mask += [False] * len(chunk)
        ids += chunk
    return ids[:length], loss_mask[:length]


def batch(rng: np.random.Generator, rows: int, length: int, low: int, *highs: int) -> PaddedBatch:
    """`rows` sequences of `length` token ids from `low` on; the alphabets of the rows end below each of `highs` in turn."""
    sequences = [sequence(rng, length, low, highs[row % len(highs)]) for row in range(rows)]
    ids = torch.tensor([row for row, _ in sequences])
    loss_mask = torch.tensor([mask for _, mask in sequences])
    return PaddedBatch(ids, torch.where(loss_mask, ids, torch.full_like(ids, IGNORE_INDEX)), torch.ones(rows))


def train_induction(
    optimizer: Optimizer,
    seed: int,
    *,
    low: int,
    high: int,
    tokens_per_batch: int,
    max_steps: int,
    learning_rate: float,
    checkpoint: Checkpoint,
    report: Callable[[int, int, float], None] | None = None,
) -> list[list[float]]:
    """Run the curriculum on token ids in [low, high) until the last length is mastered, or for `max_steps`.

    Every step draws from a generator of its own, so a training that continues from `checkpoint` gives the same weights. The checkpoint
    is also written at the end: a finished lesson is not repeated.
    Returns [step, length, loss] every 25 steps, the loss in nats per repeated token as a moving average; `report` gets the same three.
    """
    first_step = checkpoint.restore(optimizer)
    level, average_loss = checkpoint.facts.get("level", 0), checkpoint.facts.get("average_loss", 10.0)
    points: list[list[float]] = checkpoint.facts.get("curve", [])
    highs = [*(min(low + size, high) for size in ALPHABETS), high]
    for step in range(first_step, max_steps):
        if level == len(LENGTHS):
            break
        length = LENGTHS[level]
        rows = max(4, tokens_per_batch // length)
        warmed_up_rate = learning_rate * min(1.0, (step + 1) / _WARMUP_STEPS)
        loss = optimizer.step([batch(np.random.default_rng([seed, 0, step]), rows, length, low, *highs)], warmed_up_rate)
        average_loss = 0.9 * average_loss + 0.1 * loss
        if step % _REPORT_INTERVAL == 0:
            points.append([step, length, round(average_loss, 4)])
            if report is not None:
                report(step, length, average_loss)
        if average_loss < MASTERY_LOSS:
            level, average_loss = level + 1, average_loss + 1.0
        checkpoint.facts = {"level": level, "average_loss": average_loss, "curve": points}
        if level == len(LENGTHS) or step + 1 == max_steps:
            checkpoint.save(step + 1, optimizer)
        else:
            checkpoint.save_if_due(step + 1, optimizer)
    return points
