"""One optimisation loop for pretraining and fine-tuning: AdamW, warm-up then linear decay, clipping, bf16 autocast where it pays.

Invariant: the same seed, batches and machine give the same weights; nothing here draws a random number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional

from agentevol.packing import Line
from agentevol.precision import resolve

IGNORED = -100
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows. `ids` and `labels` are int64 [rows, length] (labels IGNORED where nothing is learnt), `weights` float32 [rows]."""

    ids: Tensor
    labels: Tensor
    weights: Tensor

    @property
    def tokens(self) -> int:
        return int(self.ids.numel())

    @property
    def learnt(self) -> Tensor:
        """Where the next token is learnt: bool [rows, length - 1]."""
        return self.labels[:, 1:] != IGNORED

    @property
    def trained_tokens(self) -> int:
        return int(self.learnt.sum())


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


class NotFinite(RuntimeError):
    """The loss became NaN or infinite."""


class Optimizer:
    """A model with its AdamW and precision. `step` learns from one batch; `loss_of` only measures it."""

    def __init__(self, model: Any, *, precision: str, weight_decay: float, clip: float, betas: tuple[float, float] = (0.9, 0.95)) -> None:
        # Accelerate allows one precision per process; autocast here lets a float32 and a bfloat16 training follow one another.
        self.accelerator = Accelerator()
        self.half = resolve(precision) == "bfloat16"
        decayed = [p for p in model.parameters() if p.ndim >= 2]
        plain = [p for p in model.parameters() if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.model, self.adamw = self.accelerator.prepare(model, torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=1e-8, fused=True))
        self.clip = clip

    def step(self, batch: Batch | Line, learning_rate: float) -> float:
        """One update; returns the batch's loss in nats per learnt token. Raises NotFinite before the weights are touched."""
        self.model.train()
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        loss = self._loss(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NotFinite(f"the loss is {value}; lower finetune.learning_rate (now {learning_rate:.2g}) or use precision float32")
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return value

    @torch.no_grad()
    def loss_of(self, batch: Batch | Line) -> float:
        self.model.eval()
        return float(self._loss(batch))

    def unwrapped(self) -> Any:
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    def _loss(self, batch: Batch | Line) -> Tensor:
        device = self.accelerator.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.half):
            logits = batch.logits(self.model, device) if isinstance(batch, Line) else self._logits(batch)
        return line_nll(logits, batch) if isinstance(batch, Line) else weighted_nll(logits, batch)

    def _logits(self, batch: Batch) -> Tensor:
        """What predicts each learnt token: [learnt tokens, vocabulary], row by row."""
        device = self.accelerator.device
        learnt = batch.learnt.to(device)
        # Only the positions with loss go through the output layer: most of a trajectory is the world's text. A hook at that layer leaves
        # all else to the model's own forward pass, so that what an architecture does with its logits (scaling, capping) is kept.
        head = self.unwrapped().get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, given: (given[0][:, :-1][learnt][None], *given[1:]))
        try:
            # No attention mask: rows are padded on the right, so under a causal mask no learnt position ever sees a pad.
            logits: Tensor = self.model(input_ids=batch.ids.to(device), use_cache=False).logits
        finally:
            hook.remove()
        return logits[0]


def line_nll(logits: Tensor, line: Line) -> Tensor:
    """Sum over learnt tokens of weight(row) * -log p(token), divided by the number of learnt tokens: Eq. 8 of the paper per token."""
    nll = functional.cross_entropy(logits.float(), line.targets.to(logits.device), reduction="none")
    return (nll * line.weights.to(logits.device)).sum() / max(1, line.trained_tokens)


def weighted_nll(logits: Tensor, batch: Batch) -> Tensor:
    """The same of right-padded rows. `logits`: [learnt tokens, vocabulary], those that predict the tokens where `batch.learnt`."""
    learnt = batch.learnt
    nll = functional.cross_entropy(logits.float(), batch.labels[:, 1:][learnt].to(logits.device), reduction="none")
    weights = batch.weights[:, None].expand_as(learnt)[learnt].to(logits.device)
    return (nll * weights).sum() / learnt.sum().clamp(min=1).to(logits.device)


def run(optimizer: Optimizer, batches: Iterable[Batch | Line], schedule: Schedule, progress: Progress | None = None) -> list[list[float]]:
    """Learn from the batches in order; returns the loss curve as [step, loss] pairs, about a hundred of them."""
    every = max(1, schedule.steps // 100)
    curve: list[list[float]] = []
    recent: list[float] = []
    for step, batch in enumerate(batches):
        recent.append(optimizer.step(batch, schedule.at(step)))
        if progress is not None:
            progress(step + 1, schedule.steps, recent[-1])
        if (step + 1) % every == 0 or step + 1 == schedule.steps:
            curve.append([step + 1, round(sum(recent) / len(recent), 5)])
            recent = []
    return curve
