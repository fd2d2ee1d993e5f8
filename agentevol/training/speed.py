"""Estimates how long training takes, from the size of a model and the rate at which a device multiplies matrices.

Invariant: these are estimates for the user; no result depends on them.
"""

from __future__ import annotations

import time
from statistics import median

import torch

from agentevol.training.memory import ModelSize

SHARE_OF_MATRIX_RATE = {"cuda": 0.35, "cpu": 0.7}
"""How much of a device's matrix rate training reaches, by device type. Measured: 28, 37 and 46 % with 0.3, 0.6 and 1.5 billion parameters
on an H200 in bfloat16; 60 to 80 % with 2.7 million parameters on one core of an AMD EPYC in float32."""
TRAINED_SHARE = 0.25
"""The share of a trajectory's tokens that the policy wrote. Only these pass through the output layer."""
_WARM_UP, _MOST, _SECONDS = 3, 50, 0.5
"""Of the measurement: calls before it, at most so many calls, and for so long."""


def operations_per_token(size: ModelSize, *, gradient_checkpointing: bool = False, trained_share: float = TRAINED_SHARE) -> float:
    """Floating-point operations of a forward and backward pass per token, without the attention scores.

    If most weights are frozen (LoRA), the backward pass computes the gradients of the inputs only. `gradient_checkpointing` computes the
    layers' forward pass twice.
    """
    layer = 2 * size.width * (size.query_width + size.key_width) + 3 * size.width * size.mlp_width
    products = 3 if size.trained_parameters > size.parameters / 2 else 2
    return 2 * (size.layers * layer * (products + gradient_checkpointing) + trained_share * size.width * size.vocabulary * products)


def seconds_per_token(size: ModelSize, matrix_rate: float, device_type: str, *, gradient_checkpointing: bool = False) -> float:
    """Estimated seconds to train on a token in one process.

    `matrix_rate`: floating-point operations per second. `device_type`: cpu or cuda.
    """
    operations = operations_per_token(size, gradient_checkpointing=gradient_checkpointing)
    return operations / (SHARE_OF_MATRIX_RATE[device_type] * matrix_rate)


def measure_matrix_rate(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """Floating-point operations per second of products of square matrices of random numbers; takes about half a second.

    Random, because a GPU multiplies equal numbers faster. `size`: of the matrices; None: one that suits the device.
    """
    size = size or (8192 if device.type == "cuda" else 512)
    left, right = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))

    def multiply() -> float:
        start = time.perf_counter()
        torch.matmul(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    for _ in range(_WARM_UP):
        multiply()
    times: list[float] = []
    while len(times) < _MOST and sum(times) < _SECONDS:
        times.append(multiply())
    return 2 * size**3 / median(times)
