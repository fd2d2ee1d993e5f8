"""Training one random model: the product's step against bare forward and backward passes, both against the matrix rate of the same run."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from agentevol.chat.tokenize import TokenizedExample
from agentevol.settings.finetune import FinetuneParams
from agentevol.training.memory import GIB, ModelSize, TrainingMemory, estimate_training, step_limit
from agentevol.training.optimizer import Optimizer
from agentevol.training.packing import PackedBatch, enable_packed_attention
from agentevol.training.speed import measure_matrix_rate
from benchmarks.gpu.device import free_memory, peak_bytes, pick_device, repeat
from benchmarks.gpu.shapes import SHAPES, TINY, random_model, training_operations

ROW = 2048  # tokens of a row of the bare passes


def measure(size: str, *, dry_run: bool) -> dict[str, Any]:
    """Tokens per second and the share of the matrix rate of both; the peak memory of a step beside its estimate."""
    device = pick_device()
    shape, tokens, row = (TINY, 256, 64) if dry_run else (SHAPES[size], 16_384, ROW)
    limits: dict[str, Any] = {"warm_up": 1, "seconds": 0.1, "most": 2} if dry_run else {"warm_up": 3, "seconds": 4.0, "most": 12}
    rate = measure_matrix_rate(device, torch.bfloat16, size=128 if dry_run else 8192)

    bare_rate, bare_share = _bare(random_model(shape, device, torch.bfloat16), device, rate, tokens, row, limits)
    free_memory(device)

    settings = FinetuneParams()
    model = random_model(shape, device, torch.float32)
    packed = enable_packed_attention(model)
    memory = estimate_training(ModelSize.of(model), bfloat16=True)
    batch = PackedBatch.from_examples(_examples(fitting_tokens(memory, tokens, device), shape.vocabulary, longest=row))
    operations = training_operations(model, batch.lengths, batch.trained_tokens)
    estimate = memory.total(batch.tokens, batch.trained_tokens)
    optimizer = Optimizer(model, precision="bfloat16", weight_decay=settings.weight_decay, max_grad_norm=settings.max_grad_norm)
    seconds = repeat(lambda: optimizer.step([batch], 1e-5), device, **limits)
    peak = peak_bytes(device)
    return {
        "parameters": ModelSize.of(model).parameters,
        "tokens of a step": batch.tokens,
        "matrix rate, TFLOP/s": rate / 1e12,
        "bare, tokens/s": bare_rate,
        "bare, share of the matrix rate": bare_share,
        "tokens/s": batch.tokens / seconds,
        "share of the matrix rate": operations / seconds / rate,
        "against bare": (operations / seconds) / (bare_share * rate),
        "packed": packed,
        "peak memory, GiB": peak / GIB,
        "estimated memory, GiB": estimate / GIB,
        "measured against estimate": peak / estimate,
    }


def fitting_tokens(memory: TrainingMemory, tokens: int, device: torch.device) -> int:
    """As many of the tokens as training would put into a micro-batch on this device: 1.5 billion parameters fill 80 GB."""
    available = step_limit(None, torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None)
    return tokens if available is None else min(tokens, memory.fitting_tokens(available))


def _bare(model: Any, device: torch.device, rate: float, tokens: int, row: int, limits: dict[str, Any]) -> tuple[float, float]:
    """Tokens per second and the share of the matrix rate of forward and backward passes over full rows, without an optimizer."""
    model.train()
    ids = torch.randint(model.config.vocab_size, (max(1, tokens // row), row), device=device)

    def run() -> None:
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        model.zero_grad(set_to_none=True)

    seconds = repeat(run, device, **limits)
    return ids.numel() / seconds, training_operations(model, [row] * ids.shape[0], ids.numel()) / seconds / rate


def _examples(tokens: int, vocabulary: int, longest: int) -> list[tuple[TokenizedExample, float]]:
    """Rows of mixed lengths, like trajectories, with `tokens` tokens in all; every token is in the loss."""
    rng = np.random.default_rng(0)
    examples = []
    while tokens > 0:
        length = min(tokens, int(rng.integers(longest // 4, longest)))
        examples.append((TokenizedExample(rng.integers(vocabulary, size=length).tolist(), [True] * length), 1.0))
        tokens -= length
    return examples
