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
from typing import Any

import torch

from agentevol.chat.tokenize import TokenizedExample
from agentevol.data.artifact_folder import digest_json
from agentevol.data.trajectory import Trajectory
from agentevol.models import load_model, load_tokenizer, max_context_length, model_digest
from agentevol.settings.schema import FinetuneParams
from agentevol.training.checkpoints import Checkpoint
from agentevol.training.heap import limit_kernel_cache, trim_heap
from agentevol.training.lora import add_lora_adapters, merged
from agentevol.training.optimizer import MicroBatch, Optimizer
from agentevol.training.packing import PackedBatch, cut, enable_packed_attention, pack_batches
from agentevol.training.padding import Batch, group_by_length
from agentevol.training.schedule import Curve, Schedule
from agentevol.training.tokenized_dataset import TokenizedDataset, tokenize_dataset

_VERSION = 3
_GIVE_BACK_EVERY = 8  # steps; every step would cost some per cent of the time
_NOT_IN_A_CHECKPOINT = ("checkpoint_minutes", "accelerate_config")


class NoTrainingData(ValueError):
    """No trajectory with anything to learn from was given."""


def finetune(
    base: Path,
    data: Sequence[Trajectory] | Path,
    out: Path,
    *,
    settings: FinetuneParams,
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
    the model is where it shall stay (None where there is none). Raises NoTrainingData, NonFiniteLoss, ModelNotFound,
    and ValueError where not one of `epochs` and `updates` is given.
    """
    if (epochs is None) == (updates is None):
        raise ValueError(f"epochs {epochs} and updates {updates} given; allowed: one of them, the other None")
    started = time.perf_counter()
    limit_kernel_cache()
    torch.manual_seed(seed)
    tokens = tokenize_dataset(data, base, work / "tokens" if work else None)
    tokenizer, model = load_tokenizer(base), load_model(base)
    most = min(settings.max_tokens, max_context_length(model) or settings.max_tokens)
    rows, too_long = weighed(tokens, most, rule)
    if not rows:
        raise NoTrainingData(
            f"none of the {len(tokens.encoded)} trajectories can be learnt from ({len(too_long)} longer than {most} tokens)"
        )
    packed = enable_packed_attention(model)
    if settings.lora_rank:
        model = add_lora_adapters(model, settings.lora_rank, settings.lora_alpha)
    lengths = [len(encoded.token_ids) for encoded, _ in rows]
    passes = (pack_batches if packed else group_by_length)(lengths, tokens=settings.batch_tokens, epochs=epochs or inf, seed=seed)
    plan = list(islice(passes, updates))
    optimizer = Optimizer(model, precision=settings.precision, weight_decay=settings.weight_decay, clip=settings.max_grad_norm)
    pieces = Pieces(rows, None if packed else int(tokenizer.pad_token_id or 0), settings.micro_batch_tokens, optimizer)
    schedule = Schedule(settings.learning_rate, len(plan), settings.warmup_ratio, settings.min_lr_ratio)
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


def weighed(tokens: TokenizedDataset, max_tokens: int, rule: str) -> tuple[list[tuple[TokenizedExample, float]], list[str]]:
    """(token ids with loss flags, weight) of every trajectory that fits and teaches, and the item ids of those that are too long."""
    rows: list[tuple[TokenizedExample, float]] = []
    too_long: list[str] = []
    for encoded, reward, item_id in zip(tokens.encoded, tokens.rewards, tokens.item_ids, strict=True):
        weight = reward if rule == "reward_weighted" else 1.0
        if len(encoded.token_ids) > max_tokens:
            too_long.append(item_id)
        elif weight > 0 and any(encoded.loss_mask):
            rows.append((encoded, weight))
    return rows, too_long


class Pieces:
    """A step's rows as this process computes them: packed in lines, or padded with `pad`, of about `micro_tokens` tokens each."""

    def __init__(
        self, rows: Sequence[tuple[TokenizedExample, float]], pad: int | None, micro_tokens: int | None, optimizer: Optimizer
    ) -> None:
        self.rows, self.pad, self.micro_tokens = rows, pad, micro_tokens
        self.processes, self.mine = optimizer.processes, int(optimizer.accelerator.process_index)
        self.learnt = [sum(encoded.loss_mask[1:]) for encoded, _ in rows]

    def of(self, group: Sequence[int]) -> list[MicroBatch]:
        """As many as in every other process; where there are too few rows for that, one that weighs nothing."""
        sizes = [len(self.rows[i][0].token_ids) for i in group]
        each = 1 if self.micro_tokens is None else -(-sum(sizes) // (self.micro_tokens * self.processes))
        parts = cut(group, sizes, each * self.processes)[self.mine :: self.processes]
        return [self._piece([self.rows[i] for i in part] or [(self.rows[group[0]][0], 0.0)]) for part in parts]

    def _piece(self, rows: Sequence[tuple[TokenizedExample, float]]) -> MicroBatch:
        return PackedBatch.of(rows) if self.pad is None else Batch.of(rows, self.pad)


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
            trim_heap()
    return curve.points


def _save(optimizer: Optimizer, tokenizer: Any, out: Path) -> None:
    state = optimizer.accelerator.get_state_dict(optimizer.model) if optimizer.sharded else None
    if optimizer.accelerator.is_main_process:
        merged(optimizer.unwrapped()).save_pretrained(out, state_dict=state)
        tokenizer.save_pretrained(out)
    optimizer.accelerator.wait_for_everyone()


def _fields() -> list[str]:
    return [name for name, value in vars(FinetuneParams).items() if isinstance(value, property)]
