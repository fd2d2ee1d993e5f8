"""Causal attention within the rows of a line of tokens, on a processor: there PyTorch's kernel is slow, most of all backwards.

Invariant: a row's outputs and gradients are those of softmax(q k' scale) v on that row alone. Queries go in blocks, each against the keys
up to its end, so what the causal mask hides is hardly computed. Blocks begin and end at multiples of a few tokens: a row's last one reaches
into the tokens behind it, which nobody reads, so that there are few shapes for which a kernel has to be made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 256  # queries; of 64 to 512 this was the quickest for rows of 60 to 700 tokens
_GRAIN = 32  # tokens


def cpu_packed_attention(query: Tensor, key: Tensor, value: Tensor, sizes: Sequence[int], scale: float) -> Tensor:
    """query [heads, tokens, width], key and value [key heads, tokens, width], rows of `sizes` tokens; returns [heads, tokens, width].

    In the precision of autocast where that is on, like PyTorch's own attention.
    """
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (line.to(torch.get_autocast_dtype("cpu")) for line in (query, key, value))
    shared, tokens = query.shape[0] // key.shape[0], query.shape[1]
    # The heads that share keys lie side by side, as if they were further queries of the same place.
    asked = (query * scale).reshape(-1, shared, tokens, query.shape[2]).transpose(1, 2).flatten(1, 2)
    # Room for what the last row's last block reaches into.
    asked = functional.pad(asked, (0, 0, 0, _GRAIN * shared))
    key, value = (functional.pad(line, (0, 0, 0, _GRAIN)) for line in (key, value))
    with torch.autocast("cpu", enabled=False):
        out: Tensor = _Rows.apply(asked, key, value, tuple(sizes), shared)  # type: ignore[no-untyped-call]
    return out.reshape(-1, tokens, shared, out.shape[2]).transpose(1, 2).flatten(0, 1)


class _Rows(torch.autograd.Function):
    """asked [key heads, tokens x shared, width], key and value [key heads, tokens, width], all with room behind the last row."""

    @staticmethod
    def forward(ctx: Any, asked: Tensor, key: Tensor, value: Tensor, sizes: tuple[int, ...], shared: int) -> Tensor:
        out = asked.new_empty(asked.shape[0], sum(sizes) * shared, asked.shape[2])
        weights = []
        for start, first, last, end in _blocks(sizes):
            scores = torch.bmm(asked[:, first * shared : end * shared], key[:, start:end].transpose(1, 2))
            scores[:, :, first - start :].masked_fill_(_later(end - first, shared), float("-inf"))
            weight = torch.softmax(scores, -1)
            seen = torch.bmm(weight, value[:, start:end])
            out[:, first * shared : last * shared] = seen[:, : (last - first) * shared]
            weights.append(weight)
        ctx.save_for_backward(asked, key, value, *weights)
        ctx.sizes, ctx.shared = sizes, shared
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        asked, key, value, *weights = ctx.saved_tensors
        shared = ctx.shared
        wanted = functional.pad(gradients[0], (0, 0, 0, asked.shape[1] - gradients[0].shape[1]))
        of_asked = torch.zeros_like(asked)
        of_key, of_value = (torch.zeros_like(line, dtype=torch.float32) for line in (key, value))
        for (start, first, last, end), weight in zip(_blocks(ctx.sizes), weights, strict=True):
            block = slice(first * shared, end * shared)
            gradient = wanted[:, block]
            if last < end:  # of what nobody has read
                gradient = gradient.clone()
                gradient[:, (last - first) * shared :] = 0
            of_value[:, start:end] += torch.bmm(weight.transpose(1, 2), gradient)
            of_weight = torch.bmm(gradient, value[:, start:end].transpose(1, 2))
            of_scores = torch._softmax_backward_data(of_weight, weight, -1, weight.dtype)
            of_asked[:, first * shared : last * shared] = torch.bmm(of_scores, key[:, start:end])[:, : (last - first) * shared]
            of_key[:, start:end] += torch.bmm(of_scores.transpose(1, 2), asked[:, block])
        return of_asked, of_key.to(key.dtype), of_value.to(value.dtype), None, None


def _blocks(sizes: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
    """(where the row starts, the block's first query, the end of its queries, the same with what fills the block up)."""
    start = 0
    for size in sizes:
        for first in range(0, size, BLOCK):
            last = min(first + BLOCK, size)
            yield start, start + first, start + last, start + first + -(-(last - first) // _GRAIN) * _GRAIN
        start += size


@lru_cache(maxsize=64)
def _later(queries: int, shared: int) -> Tensor:
    """[queries x shared, queries]: whether a key stands behind the query."""
    return torch.ones(queries, queries, dtype=torch.bool).triu_(1).repeat_interleave(shared, dim=0)
