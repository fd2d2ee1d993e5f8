"""Estimates how long training takes on this machine.

Invariant: information only; it stops no run.
"""

from __future__ import annotations

import torch

from agentevol.preflight.check import Check
from agentevol.preflight.resources import trained_size
from agentevol.settings.schema import Params
from agentevol.training.memory import ModelSize
from agentevol.training.precision import resolve_precision
from agentevol.training.speed import measure_matrix_rate, seconds_per_token

_TOKENS = 1_000_000


def estimate_training_time(size: ModelSize, params: Params) -> Check:
    """The time for a million tokens of trajectories in one process, from the matrix rate that this machine reaches now."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if resolve_precision(params.finetune.precision) == "bfloat16" else torch.float32
    rate = measure_matrix_rate(device, dtype)
    size = trained_size(size, params.finetune.lora_rank)
    seconds = _TOKENS * seconds_per_token(size, rate, device.type, gradient_checkpointing=params.finetune.gradient_checkpointing)
    time = f"{seconds / 60:,.0f} minutes" if seconds >= 90 else f"{seconds:,.0f} seconds"
    matrices = f"{rate / 1e12:,.0f} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:,.0f} GFLOP/s"
    return Check("training time", "ok", f"about {time} for a million tokens with one process (estimate; matrix products run at {matrices})")
