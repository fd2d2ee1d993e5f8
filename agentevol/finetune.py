"""Fine-tuning a causal language model on trajectories: behavioural cloning, and the learning step of AgentEvol (the paper's Eq. 8).

Invariants: only the policy's own messages are learnt from; a trajectory is learnt whole or, when too long, not at all and counted;
the same base, data, settings and seed on the same machine give the same weights, also where the training was killed and went on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any, Protocol

import torch

from agentevol.adapters import merged, with_lora
from agentevol.batches import Batch, like_lengths
from agentevol.chat import Encoded
from agentevol.checkpoints import Checkpoint
from agentevol.folders import digest_json
from agentevol.memory import give_back, keep_few_kernels
from agentevol.models import load_model, load_tokenizer, model_digest, own_context
from agentevol.optimize import Curve, Optimizer, Piece, Schedule
from agentevol.packing import Line, cut, in_lines, pack_attention
from agentevol.tokens import Tokens, tokens_of
from agentevol.trajectory import Trajectory

_VERSION = 3
_GIVE_BACK_EVERY = 8  # steps; every step would cost some per cent of the time
_NOT_IN_A_CHECKPOINT = ("checkpoint_minutes", "accelerate")


class FinetuneSettings(Protocol):
    """What fine-tuning needs of the parameters (settings.FinetuneParams has it)."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def batch_tokens(self) -> int: ...
    @property
    def micro_tokens(self) -> int | None: ...
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
    @property
    def lora_rank(self) -> int | None: ...
    @property
    def lora_alpha(self) -> float | None: ...
    @property
    def checkpoint_minutes(self) -> float | None: ...


class NothingToLearn(ValueError):
    """No trajectory with anything to learn from was given."""


def finetune(
    base: Path,
    data: Sequence[Trajectory] | Path,
    out: Path,
    *,
    settings: FinetuneSettings,
    seed: int,
    epochs: float | None = None,
    updates: int | None = None,
    rule: str = "reward_weighted",
    work: Path | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> dict[str, Any]:
    """Learn from trajectories, or the dataset in a folder, starting at the model in `base`; writes a complete model folder into `out`.

    Either `epochs` passes over the data (the last may be a part), or `updates` optimiser steps, the data again and again.
    rule: `reward_weighted` weighs each trajectory's log-likelihood by its reward, `threshold` weighs all that are given alike.
    work: a folder for tokens and checkpoints; without it the one are made anew and the others not at all.
    A trajectory of more than `settings.max_tokens`, or than the model's own context, is too long.
    Returns loss curve, steps, token counts, what was too long for how many tokens, seconds, and `checkpoint`: the folder to remove once
    the model is where it shall stay (None where there is none). Raises NothingToLearn, NotFinite, ModelNotFound,
    and ValueError where not one of `epochs` and `updates` is given.
    """
    if (epochs is None) == (updates is None):
        raise ValueError(f"epochs {epochs} and updates {updates} given; allowed: one of them, the other None")
    started = time.perf_counter()
    keep_few_kernels()
    torch.manual_seed(seed)
    tokens = tokens_of(data, base, work / "tokens" if work else None)
    tokenizer, model = load_tokenizer(base), load_model(base)
    most = min(settings.max_tokens, own_context(model) or settings.max_tokens)
    rows, too_long = weighed(tokens, most, rule)
    if not rows:
        raise NothingToLearn(
            f"none of the {len(tokens.encoded)} trajectories can be learnt from ({len(too_long)} longer than {most} tokens)"
        )
    packed = pack_attention(model)
    if settings.lora_rank:
        model = with_lora(model, settings.lora_rank, settings.lora_alpha)
    lengths = [len(encoded.ids) for encoded, _ in rows]
    passes = (in_lines if packed else like_lengths)(lengths, tokens=settings.batch_tokens, epochs=epochs or inf, seed=seed)
    plan = list(islice(passes, updates))
    optimizer = Optimizer(model, precision=settings.precision, weight_decay=settings.weight_decay, clip=settings.clip)
    pieces = Pieces(rows, None if packed else int(tokenizer.pad_token_id or 0), settings.micro_tokens, optimizer)
    schedule = Schedule(settings.learning_rate, len(plan), settings.warmup, settings.min_lr_ratio)
    checkpoint = None
    if work and settings.checkpoint_minutes is not None and not optimizer.sharded:
        known = {name: getattr(settings, name) for name in _fields() if name not in _NOT_IN_A_CHECKPOINT}
        what = [_VERSION, model_digest(base), tokens.key, known, epochs, updates, seed, rule, optimizer.processes, optimizer.half]
        checkpoint = Checkpoint(work / "checkpoints" / digest_json(what)[:16], settings.checkpoint_minutes)
    curve = _learn(optimizer, pieces, plan, schedule, checkpoint, progress)
    _save(optimizer, tokenizer, out)
    return {
        "loss": curve,
        "steps": len(plan),
        "sequences": len(rows),
        "trained_tokens": sum(pieces.learnt[i] for group in plan for i in group),
        "tokens": sum(lengths[i] for group in plan for i in group),
        "too_long": too_long,
        "max_tokens": most,
        "precision": "bfloat16" if optimizer.half else "float32",
        "packed": packed,
        "processes": optimizer.processes,
        "checkpoint": str(checkpoint.folder) if checkpoint else None,
        "seconds": round(time.perf_counter() - started, 2),
    }


def weighed(tokens: Tokens, max_tokens: int, rule: str) -> tuple[list[tuple[Encoded, float]], list[str]]:
    """(token ids with loss flags, weight) of every trajectory that fits and teaches, and the item ids of those that are too long."""
    rows: list[tuple[Encoded, float]] = []
    too_long: list[str] = []
    for encoded, reward, item_id in zip(tokens.encoded, tokens.rewards, tokens.item_ids, strict=True):
        weight = reward if rule == "reward_weighted" else 1.0
        if len(encoded.ids) > max_tokens:
            too_long.append(item_id)
        elif weight > 0 and any(encoded.loss):
            rows.append((encoded, weight))
    return rows, too_long


class Pieces:
    """A step's rows as this process computes them: packed in lines, or padded with `pad`, of about `micro_tokens` tokens each."""

    def __init__(self, rows: Sequence[tuple[Encoded, float]], pad: int | None, micro_tokens: int | None, optimizer: Optimizer) -> None:
        self.rows, self.pad, self.micro_tokens = rows, pad, micro_tokens
        self.processes, self.mine = optimizer.processes, int(optimizer.accelerator.process_index)
        self.learnt = [sum(encoded.loss[1:]) for encoded, _ in rows]

    def of(self, group: Sequence[int]) -> list[Piece]:
        """As many as in every other process; where there are too few rows for that, one that weighs nothing."""
        sizes = [len(self.rows[i][0].ids) for i in group]
        each = 1 if self.micro_tokens is None else -(-sum(sizes) // (self.micro_tokens * self.processes))
        parts = cut(group, sizes, each * self.processes)[self.mine :: self.processes]
        return [self._piece([self.rows[i] for i in part] or [(self.rows[group[0]][0], 0.0)]) for part in parts]

    def _piece(self, rows: Sequence[tuple[Encoded, float]]) -> Piece:
        return Line.of(rows) if self.pad is None else Batch.of(rows, self.pad)


def _learn(
    optimizer: Optimizer,
    pieces: Pieces,
    plan: Sequence[Sequence[int]],
    schedule: Schedule,
    checkpoint: Checkpoint | None,
    progress: Callable[[int, int, float], None] | None,
) -> list[list[float]]:
    curve = Curve(len(plan))
    done = checkpoint.resume(optimizer, curve) if checkpoint else 0
    for step, group in enumerate(plan[done:], start=done):
        loss = optimizer.step(pieces.of(group), schedule.at(step), trained_tokens=sum(pieces.learnt[i] for i in group))
        curve.add(step + 1, loss)
        if progress is not None:
            progress(step + 1, len(plan), loss)
        if checkpoint and step + 1 < len(plan):
            checkpoint.offer(step + 1, optimizer, curve)
        if (step + 1) % _GIVE_BACK_EVERY == 0 or step + 1 == len(plan):
            give_back()
    return curve.points


def _save(optimizer: Optimizer, tokenizer: Any, out: Path) -> None:
    state = optimizer.accelerator.get_state_dict(optimizer.model) if optimizer.sharded else None
    if optimizer.accelerator.is_main_process:
        merged(optimizer.unwrapped()).save_pretrained(out, state_dict=state)
        tokenizer.save_pretrained(out)
    optimizer.accelerator.wait_for_everyone()


def _fields() -> list[str]:
    return [name for name, value in vars(FinetuneSettings).items() if isinstance(value, property)]
