"""One optimisation loop for pretraining and fine-tuning: AdamW with gradient clipping and, where it is faster, bfloat16 autocast.

Invariant: the same seed, steps and machine give the same weights; nothing here draws a random number. A step may be split into
micro-batches, and these between processes (`accelerate launch`): the gradient is that of the whole step.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin
from torch import Tensor

from agentevol.training.master_weights import MasterWeights
from agentevol.training.micro_batch import LogprobBatch, MicroBatch
from agentevol.training.precision import resolve_precision


class OptimizerNotInstalled(ImportError):
    """An optimizer of bitsandbytes is configured, but bitsandbytes is not installed."""


def create_adamw(kind: str, groups: list[dict[str, Any]], betas: tuple[float, float]) -> Any:
    """AdamW of PyTorch, or of bitsandbytes with moments of 8 bits (paged: they may leave the GPU). Raises OptimizerNotInstalled."""
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=1e-8, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit
    except ImportError:
        raise OptimizerNotInstalled(
            f"finetune.optimizer {kind} needs the library bitsandbytes: pip install 'agentevol[gpu]', or set it to adamw"
        ) from None
    return (PagedAdamW8bit if kind == "adamw_paged_8bit" else AdamW8bit)(groups, lr=0.0, betas=betas, eps=1e-8)


Progress = Callable[[int, int, float], None]
"""Called after each step with its number (from 1), the number of steps, and the loss in nats per trained token."""


class UpdateOutOfMemory(RuntimeError):
    """AdamW's update ran out of memory. Some weights may be updated already, so the step cannot be done again."""


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient became NaN or infinite."""


class Optimizer:
    """A model with its AdamW and its precision. `step` updates the weights; `evaluate_loss` only measures the loss."""

    def __init__(
        self,
        model: Any,
        *,
        precision: str,
        weight_decay: float,
        max_grad_norm: float,
        betas: tuple[float, float] = (0.9, 0.95),
        kind: str = "adamw",
        master_weights: bool | None = None,
    ) -> None:
        """`kind`: adamw, or adamw_8bit and adamw_paged_8bit of bitsandbytes. `master_weights`: weights of 16 bits with float32 masters;
        None: with bfloat16 on one GPU. Elsewhere bfloat16 is autocast over float32 weights."""
        # Accelerate allows one precision per process; autocast here lets a float32 training follow a bfloat16 one in the same process.
        # "no" also overrides the precision in an accelerate configuration, which would otherwise silently win over `precision`.
        # The plugin likewise overrides ACCELERATE_GRADIENT_ACCUMULATION_STEPS, by which accelerate would divide every loss: steps are split
        # into micro-batches here.
        self.accelerator = Accelerator(mixed_precision="no", gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1))
        self.uses_bfloat16 = resolve_precision(precision) == "bfloat16"
        if master_weights is None:
            master_weights = self.uses_bfloat16 and self.accelerator.device.type == "cuda" and self.num_processes == 1
        self.masters = MasterWeights(model, self.accelerator.device) if master_weights else None
        trainable = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [self._updated(p) for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [self._updated(p) for p in trainable if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        self.model, self.adamw = self.accelerator.prepare(model, create_adamw(kind, groups, betas))
        self.max_grad_norm = max_grad_norm

    @property
    def num_processes(self) -> int:
        return int(self.accelerator.num_processes)

    @property
    def is_sharded(self) -> bool:
        """Whether each process holds only a part of the model (FSDP)."""
        return bool(self.accelerator.is_fsdp2 or self.accelerator.distributed_type.value == "FSDP")

    def step(self, micro_batches: Sequence[MicroBatch], learning_rate: float, *, divisor: float | None = None) -> float:
        """One update; returns the step's loss: the sum over all processes, divided by `divisor`.

        `micro_batches` are this process's share; every process has the same number of them. `divisor` is most often the number of trained
        tokens over all processes, which gives nats per token (the paper's Eq. 8, per token); None: that of `micro_batches`. Raises
        NonFiniteLoss before the weights change.
        """
        self.model.train()
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        if divisor is None:
            divisor = sum(micro_batch.trained_tokens for micro_batch in micro_batches)
        total = torch.zeros((), device=self.accelerator.device)
        # Processes that share a model (FSDP) sum the gradient of every micro-batch: without that each would hold the whole gradient.
        for index, micro_batch in enumerate(micro_batches):
            is_last = index == len(micro_batches) - 1
            with contextlib.nullcontext() if is_last or self.is_sharded else self.accelerator.no_sync(self.model):
                loss = self._loss_sum(micro_batch) / max(1, divisor)
                total += loss.detach()
                # Accelerate averages the gradients of the processes; the loss needs their sum.
                self.accelerator.backward(loss * self.num_processes if self.num_processes > 1 else loss)
        value = float(self.accelerator.reduce(total, reduction="sum") if self.num_processes > 1 else total)
        if not math.isfinite(value):
            self._raise_not_finite(f"the loss is {value}", learning_rate)
        norm: Any
        if self.masters is not None:
            norm = torch.nn.utils.clip_grad_norm_(self.masters.masters.values(), self.max_grad_norm)
        else:
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        if norm is not None and not math.isfinite(norm := float(norm)):  # a finite loss can have such a gradient
            self._raise_not_finite(f"the gradient's norm is {norm}", learning_rate)
        try:
            self.adamw.step()
        except torch.OutOfMemoryError as error:
            raise UpdateOutOfMemory(str(error)) from None
        if self.masters is not None:
            self.masters.copy_to_model()
        self.adamw.zero_grad(set_to_none=True)
        return value

    def discard_gradients(self) -> None:
        """Forget what an unfinished step has left, so that it can be done again."""
        self.adamw.zero_grad(set_to_none=True)
        self.model.zero_grad(set_to_none=True)

    def trained_tensors(self) -> dict[str, Any]:
        """The tensors that the optimizer updates, by the names of the parameters."""
        return {name: self._updated(p) for name, p in self.unwrapped_model().named_parameters() if p.requires_grad}

    def _updated(self, parameter: Any) -> Any:
        return parameter if self.masters is None else self.masters.of(parameter)

    @torch.no_grad()
    def evaluate_loss(self, micro_batch: MicroBatch) -> float:
        """Nats per trained token, in evaluation mode; the weights stay."""
        self.model.eval()
        return float(self._loss_sum(micro_batch)) / max(1, micro_batch.trained_tokens)

    @torch.no_grad()
    def logprobs(self, batch: LogprobBatch) -> Tensor:
        """log p of every trained token in evaluation mode, in the precision of training: float32 [trained tokens] on the CPU."""
        self.model.eval()
        with self._autocast():
            return batch.logprobs(self.model, self.accelerator.device).float().cpu()

    def unwrapped_model(self) -> Any:
        """The model without accelerate's wrappers."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    def _raise_not_finite(self, problem: str, learning_rate: float) -> NoReturn:
        self.adamw.zero_grad(set_to_none=True)
        raise NonFiniteLoss(f"{problem}; lower finetune.learning_rate (now {learning_rate:.2g}) or set finetune.precision=float32")

    def _loss_sum(self, micro_batch: MicroBatch) -> Tensor:
        with self._autocast():
            return micro_batch.loss_sum(self.model, self.accelerator.device)

    def _autocast(self) -> torch.autocast:
        # Its cache would keep a copy of the whole model in each of the processes that share one.
        enabled = self.uses_bfloat16 and self.masters is None
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=enabled, cache_enabled=not self.is_sharded)
