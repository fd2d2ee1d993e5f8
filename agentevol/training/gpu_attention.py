"""Causal attention within the examples of a packed batch, on a GPU: one call for all of them, sliding windows included.

Invariant: PyTorch's kernel for rows of different lengths is used only if it agreed, on this GPU and for these shapes, with attention
computed row by row; else the caller computes it row by row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, lru_cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def packed_kernel_attention(
    query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], scale: float, window: int | None
) -> Tensor | None:
    """query [tokens, heads, width], key and value [tokens, key heads, width]; returns [tokens, heads, width], None without a kernel.

    Under autocast it computes in autocast's precision, like PyTorch's own attention.
    """
    if torch.is_autocast_enabled("cuda"):
        query, key, value = (tensor.to(torch.get_autocast_dtype("cuda")) for tensor in (query, key, value))
    if query.dtype not in (torch.bfloat16, torch.float16):
        return None
    if not kernel_works(query.device.index or 0, query.dtype, query.shape[1], key.shape[1], query.shape[2]):
        return None
    return varlen_attention(query, key, value, lengths, scale, window)


def varlen_attention(query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], scale: float, window: int | None) -> Tensor:
    """The same with PyTorch's kernel."""
    from torch.nn.attention.varlen import varlen_attn

    starts, longest = _starts(lengths, query.device), max(lengths)
    options: dict[str, Any] = {}
    if query.shape[1] != key.shape[1]:
        if _groups_heads(varlen_attn):
            options["enable_gqa"] = True
        else:  # PyTorch before 2.12: every query head gets a key head of its own
            key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for tensor in (key, value))
    out: Tensor = varlen_attn(  # type: ignore[assignment]
        query.contiguous(),
        key.contiguous(),
        value.contiguous(),
        starts,
        starts,
        longest,
        longest,
        scale=scale,
        window_size=(window - 1, 0) if window else (-1, 0),
        **options,
    )
    return out


@cache
def _groups_heads(kernel: Callable[..., Any]) -> bool:
    return "enable_gqa" in inspect.signature(kernel).parameters


@lru_cache(maxsize=16)
def _starts(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """Where each example begins, and where the last one ends: int32 [examples + 1]. One copy to the GPU for all layers."""
    values = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, pin_memory=device.type == "cuda")
    return values.to(device, non_blocking=True)


@cache
def kernel_works(device_index: int, dtype: torch.dtype, heads: int, key_heads: int, width: int) -> bool:
    """Whether this PyTorch has the kernel and this GPU runs it with the right result and gradient."""
    return agrees(varlen_attention, torch.device("cuda", device_index), dtype, heads, key_heads, width)


def agrees(attend: Callable[..., Tensor], device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, width: int) -> bool:
    """Whether `attend` gives the outputs and gradients of attention row by row on random examples, with and without a window.

    The first call can come from a layer under gradient checkpointing, which must not take the tensors of this check for the layer's own.
    """
    generator, lengths = torch.Generator().manual_seed(0), (70, 1, 33)
    scale = width**-0.5
    inputs = [torch.randn(sum(lengths), count, width, generator=generator).to(device, dtype) for count in (heads, key_heads, key_heads)]
    own_tensors = torch.autograd.graph.saved_tensors_hooks(_unchanged, _unchanged)  # the innermost hooks are the only ones that act
    with torch.enable_grad(), torch.autocast(device.type, enabled=False), own_tensors:
        for window in (None, 20):
            results = []
            for function in (attend, _row_by_row):
                leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
                try:
                    out = function(leaves[0], leaves[1], leaves[2], lengths, scale, window)
                    out.float().square().sum().backward()  # type: ignore[no-untyped-call]
                except Exception:  # named boundary: another PyTorch has another signature, another GPU another error
                    return False
                results.append([out.detach(), *(leaf.grad for leaf in leaves)])
            for ours, expected in zip(*results, strict=True):
                if ours is None or expected is None or (ours.float() - expected.float()).norm() > 2e-2 * expected.float().norm():
                    return False
    return True


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


def _row_by_row(query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], scale: float, window: int | None) -> Tensor:
    group_size = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(group_size, dim=1) for tensor in (key, value))
    outputs = []
    for q, k, v in zip(*(torch.split(tensor, list(lengths)) for tensor in (query, key, value)), strict=True):
        positions = torch.arange(len(q), device=q.device)
        distance = positions[:, None] - positions[None, :]
        mask = (distance >= 0) & (distance < (window or len(q)))
        rows = [tensor.transpose(0, 1)[None] for tensor in (q, k, v)]
        outputs.append(scaled_dot_product_attention(rows[0], rows[1], rows[2], attn_mask=mask, scale=scale)[0])
    return torch.cat(outputs, dim=1).transpose(0, 1)
