"""One optimisation loop for pretraining and fine-tuning: AdamW, warm-up then linear decay, clipping, bf16 autocast where it gains.

Invariant: the same seed, steps and machine give the same weights; nothing here draws a random number. A step may be given in pieces, and
its pieces to several processes (`accelerate launch`): the gradient is that of the whole step.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor

from agentevol.training.precision import resolve

IGNORE_INDEX = -100
Progress = Callable[[int, int, float], None]


class MicroBatch(Protocol):
    """Something to learn from: rows in a rectangle (batches.Batch) or in a line (packing.PackedBatch)."""

    @property
    def trained_tokens(self) -> int: ...

    def nll(self, model: Any, device: torch.device) -> Tensor:
        """The sum over learnt tokens of weight(row) * -log p(token)."""
        ...


class NonFiniteLoss(RuntimeError):
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

    def step(self, pieces: Sequence[MicroBatch], learning_rate: float, *, trained_tokens: int | None = None) -> float:
        """One update; returns the step's loss in nats per learnt token (the paper's Eq. 8 per token).

        `pieces` are this process's share, as many as every other's; `trained_tokens` counts those of all. Raises NonFiniteLoss before the
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
            raise NonFiniteLoss(f"the loss is {value}; lower finetune.learning_rate (now {learning_rate:.2g}) or use precision float32")
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return value

    @torch.no_grad()
    def loss_of(self, piece: MicroBatch) -> float:
        self.model.eval()
        return float(self._nll(piece)) / max(1, piece.trained_tokens)

    def unwrapped(self) -> Any:
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    def _nll(self, piece: MicroBatch) -> Tensor:
        device = self.accelerator.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.half):
            return piece.nll(self.model, device)
