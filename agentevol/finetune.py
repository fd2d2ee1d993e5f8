"""Fine-tuning a causal language model on trajectories: behavioural cloning, and the learning step of AgentEvol (the paper's Eq. 8).

Invariants: only the policy's own messages are learnt from; a trajectory is learnt whole or, when too long, not at all and counted;
the same base, data, settings and seed on the same machine give the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from agentevol.chat import Chat, Encoded
from agentevol.models import load_model, load_tokenizer
from agentevol.optimize import IGNORED, Batch, Optimizer, Schedule, run
from agentevol.packing import Line, lines, pack_attention
from agentevol.trajectory import Trajectory

LENGTH_STEP = 64
"""Rows are padded to a multiple of this: few shapes keep the allocator small, sorted lengths keep the padding small."""
WINDOW = 256
"""Rows that are sorted by length together."""


class FinetuneSettings(Protocol):
    """What fine-tuning needs of the parameters (settings.FinetuneParams has it)."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def batch_tokens(self) -> int: ...
    @property
    def warmup(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip(self) -> float: ...
    @property
    def precision(self) -> str: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def min_lr_ratio(self) -> float: ...


class NothingToLearn(ValueError):
    """No trajectory with anything to learn from was given."""


def finetune(
    base: Path,
    trajectories: Sequence[Trajectory],
    out: Path,
    *,
    settings: FinetuneSettings,
    epochs: float,
    seed: int,
    rule: str = "reward_weighted",
    progress: Callable[[int, int, float], None] | None = None,
) -> dict[str, Any]:
    """Learn from `trajectories`, starting at the model in `base`; writes a complete model folder into `out`.

    rule: `reward_weighted` weighs each trajectory's log-likelihood by its reward, `threshold` weighs all that are given alike.
    Returns loss curve, steps, token counts, the item ids that were too long, seconds. Raises NothingToLearn, NotFinite, ModelNotFound.
    """
    started = time.perf_counter()
    torch.manual_seed(seed)
    tokenizer, model = load_tokenizer(base), load_model(base)
    rows, too_long = encode_all(trajectories, Chat(tokenizer), settings.max_tokens, rule)
    if not rows:
        raise NothingToLearn(
            f"none of the {len(trajectories)} trajectories can be learnt from ({len(too_long)} longer than {settings.max_tokens} tokens)"
        )
    plan: list[Batch | Line]
    if pack_attention(model):
        plan = list(lines(rows, tokens=settings.batch_tokens, epochs=epochs, seed=seed))
    else:
        plan = list(batches(rows, tokens=settings.batch_tokens, epochs=epochs, seed=seed, pad=int(tokenizer.pad_token_id or 0)))
    optimizer = Optimizer(model, precision=settings.precision, weight_decay=settings.weight_decay, clip=settings.clip)
    schedule = Schedule(settings.learning_rate, len(plan), settings.warmup, settings.min_lr_ratio)
    curve = run(optimizer, plan, schedule, progress)
    trained = optimizer.unwrapped()
    trained.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return {
        "loss": curve,
        "steps": len(plan),
        "sequences": len(rows),
        "trained_tokens": sum(batch.trained_tokens for batch in plan),
        "tokens": sum(batch.tokens for batch in plan),
        "precision": "bfloat16" if optimizer.half else "float32",
        "too_long": too_long,
        "seconds": round(time.perf_counter() - started, 2),
    }


def encode_all(trajectories: Sequence[Trajectory], chat: Chat, max_tokens: int, rule: str) -> tuple[list[tuple[Encoded, float]], list[str]]:
    """(token ids with loss flags, weight) of every trajectory that fits, and the item ids of those that don't."""
    rows: list[tuple[Encoded, float]] = []
    too_long: list[str] = []
    for trajectory in trajectories:
        encoded = chat.encode_trajectory(trajectory)
        weight = trajectory.reward if rule == "reward_weighted" else 1.0
        if len(encoded.ids) > max_tokens:
            too_long.append(trajectory.item_id)
        elif weight > 0 and any(encoded.loss):
            rows.append((encoded, weight))
    return rows, too_long


def batches(rows: Sequence[tuple[Encoded, float]], *, tokens: int, epochs: float, seed: int, pad: int) -> Iterator[Batch]:
    """Every row once per epoch (the last epoch may be a part), in batches of about `tokens` padded tokens of like lengths.

    For models whose attention cannot be packed, and for pretraining.
    Rows are shuffled, sorted by length within windows of several batches, and the batches shuffled again: little padding, little order.
    """
    rng = np.random.default_rng(seed)
    for epoch in range(int(np.ceil(epochs))):
        share = min(1.0, epochs - epoch)
        order = [int(i) for i in rng.permutation(len(rows))[: max(1, round(share * len(rows)))]]
        groups: list[list[int]] = []
        for start in range(0, len(order), WINDOW):
            by_length = sorted(order[start : start + WINDOW], key=lambda i: len(rows[i][0].ids))
            groups += _fill(by_length, rows, tokens)
        for position in rng.permutation(len(groups)):
            yield _collate([rows[i] for i in groups[int(position)]], pad)


def _fill(by_length: Sequence[int], rows: Sequence[tuple[Encoded, float]], tokens: int) -> list[list[int]]:
    groups: list[list[int]] = [[]]
    for index in by_length:
        width = _padded(len(rows[index][0].ids))
        if groups[-1] and (len(groups[-1]) + 1) * width > tokens:
            groups.append([])
        groups[-1].append(index)
    return [group for group in groups if group]


def _padded(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP


def _collate(rows: Sequence[tuple[Encoded, float]], pad: int) -> Batch:
    width = _padded(max(len(encoded.ids) for encoded, _ in rows))
    ids = torch.full((len(rows), width), pad, dtype=torch.int64)
    labels = torch.full((len(rows), width), IGNORED, dtype=torch.int64)
    for row, (encoded, _) in enumerate(rows):
        length = len(encoded.ids)
        ids[row, :length] = torch.tensor(encoded.ids)
        labels[row, :length] = torch.where(torch.tensor(encoded.loss), ids[row, :length], IGNORED)
    return Batch(ids, labels, torch.tensor([weight for _, weight in rows], dtype=torch.float32))
