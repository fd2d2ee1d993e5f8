"""One optimisation loop for pretraining and fine-tuning: AdamW, warm-up then linear decay, clipping, bf16 autocast where it gains.

Invariant: the same seed, steps and machine give the same weights; nothing here draws a random number. A step may be given in pieces, and
its pieces to several processes (`accelerate launch`): the gradient is that of the whole step.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor

from agentevol.precision import resolve

IGNORED = -100
Progress = Callable[[int, int, float], None]


class Piece(Protocol):
    """Something to learn from: rows in a rectangle (batches.Batch) or in a line (packing.Line)."""

    @property
    def trained_tokens(self) -> int: ...

    def nll(self, model: Any, device: torch.device) -> Tensor:
        """The sum over learnt tokens of weight(row) * -log p(token)."""
        ...


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
    """A model with its AdamW and precision. `step` learns from the pieces of one step; `loss_of` only measures one."""

    def __init__(self, model: Any, *, precision: str, weight_decay: float, clip: float, betas: tuple[float, float] = (0.9, 0.95)) -> None:
        # Accelerate allows one precision per process; autocast here lets a float32 and a bfloat16 training follow one another.
        # "no" also goes before what an accelerate configuration says of it, which would otherwise win over `precision` unseen.
        self.accelerator = Accelerator(mixed_precision="no")
        self.half = resolve(precision) == "bfloat16"
        learnt = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in learnt if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in learnt if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        self.model, self.adamw = self.accelerator.prepare(model, torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=1e-8, fused=True))
        self.clip = clip

    @property
    def processes(self) -> int:
        return int(self.accelerator.num_processes)

    @property
    def sharded(self) -> bool:
        """Whether each process holds only a part of the model (FSDP)."""
        return bool(self.accelerator.is_fsdp2 or self.accelerator.distributed_type.value == "FSDP")

    def step(self, pieces: Sequence[Piece], learning_rate: float, *, trained_tokens: int | None = None) -> float:
        """One update; returns the step's loss in nats per learnt token (the paper's Eq. 8 per token).

        `pieces` are this process's share, as many as every other's; `trained_tokens` counts those of all. Raises NotFinite before the
        weights are touched.
        """
        self.model.train()
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        trained = max(1, sum(piece.trained_tokens for piece in pieces) if trained_tokens is None else trained_tokens)
        total = torch.zeros((), device=self.accelerator.device)
        for index, piece in enumerate(pieces):
            last = index == len(pieces) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                loss = self._nll(piece) / trained
                total += loss.detach()
                # Processes average their gradients; here they are to be summed.
                self.accelerator.backward(loss * self.processes if self.processes > 1 else loss)
        value = float(self.accelerator.reduce(total, reduction="sum") if self.processes > 1 else total)
        if not math.isfinite(value):
            self.adamw.zero_grad(set_to_none=True)
            raise NotFinite(f"the loss is {value}; lower finetune.learning_rate (now {learning_rate:.2g}) or use precision float32")
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return value

    @torch.no_grad()
    def loss_of(self, piece: Piece) -> float:
        self.model.eval()
        return float(self._nll(piece)) / max(1, piece.trained_tokens)

    def unwrapped(self) -> Any:
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    def _nll(self, piece: Piece) -> Tensor:
        device = self.accelerator.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.half):
            return piece.nll(self.model, device)


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
