"""Causal attention within the examples of a packed batch, on a CPU: PyTorch's own kernel is slow there, most of all in the backward pass.

Invariant: an example's outputs and gradients are those of softmax(q k' scale) v on that example alone. Queries are processed in blocks,
each against the keys up to its end, so little is computed that the causal mask hides. Block lengths are multiples of a few tokens, so that
kernels are needed for few shapes; the last block of an example reaches into the tokens behind it, and that part of its result is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 256  # queries; the fastest of 64 to 512 for examples of 60 to 700 tokens
_BLOCK_MULTIPLE = 32  # tokens


def cpu_packed_attention(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scale: float) -> Tensor:
    """query [heads, tokens, width], key and value [key heads, tokens, width], examples of `lengths` tokens; returns [heads, tokens, width].

    Under autocast it computes in autocast's precision, like PyTorch's own attention.
    """
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (tensor.to(torch.get_autocast_dtype("cpu")) for tensor in (query, key, value))
    group_size, tokens = query.shape[0] // key.shape[0], query.shape[1]
    # The query heads of one key head stand side by side, as if they were further queries at the same position.
    queries = (query * scale).reshape(-1, group_size, tokens, query.shape[2]).transpose(1, 2).flatten(1, 2)
    # Padding for the part of the last block that reaches behind the last example.
    queries = functional.pad(queries, (0, 0, 0, _BLOCK_MULTIPLE * group_size))
    key, value = (functional.pad(tensor, (0, 0, 0, _BLOCK_MULTIPLE)) for tensor in (key, value))
    with torch.autocast("cpu", enabled=False):
        out: Tensor = _PackedCausalAttention.apply(queries, key, value, tuple(lengths), group_size)  # type: ignore[no-untyped-call]
    return out.reshape(-1, tokens, group_size, out.shape[2]).transpose(1, 2).flatten(0, 1)


class _PackedCausalAttention(torch.autograd.Function):
    """queries [key heads, tokens x group size, width], key and value [key heads, tokens, width], all padded behind the last example.

    Returns [key heads, tokens x group size, width] without the padding.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], group_size: int) -> Tensor:
        out = queries.new_empty(queries.shape[0], sum(lengths) * group_size, queries.shape[2])
        block_weights = []
        for start, first, last, end in _blocks(lengths):
            scores = torch.bmm(queries[:, first * group_size : end * group_size], key[:, start:end].transpose(1, 2))
            scores[:, :, first - start :].masked_fill_(_future_mask(end - first, group_size), float("-inf"))
            weights = torch.softmax(scores, -1)
            block_out = torch.bmm(weights, value[:, start:end])
            out[:, first * group_size : last * group_size] = block_out[:, : (last - first) * group_size]
            block_weights.append(weights)
        ctx.save_for_backward(queries, key, value, *block_weights)
        ctx.lengths, ctx.group_size = lengths, group_size
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        queries, key, value, *block_weights = ctx.saved_tensors
        group_size = ctx.group_size
        grad_out = functional.pad(grad_outputs[0], (0, 0, 0, queries.shape[1] - grad_outputs[0].shape[1]))
        grad_queries = torch.zeros_like(queries)
        grad_key, grad_value = (torch.zeros_like(tensor, dtype=torch.float32) for tensor in (key, value))
        for (start, first, last, end), weights in zip(_blocks(ctx.lengths), block_weights, strict=True):
            block = slice(first * group_size, end * group_size)
            grad_block = grad_out[:, block]
            if last < end:  # the forward pass dropped what lies behind the last query
                grad_block = grad_block.clone()
                grad_block[:, (last - first) * group_size :] = 0
            grad_value[:, start:end] += torch.bmm(weights.transpose(1, 2), grad_block)
            grad_weights = torch.bmm(grad_block, value[:, start:end].transpose(1, 2))
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            grad_queries[:, first * group_size : last * group_size] = torch.bmm(grad_scores, key[:, start:end])[
                :, : (last - first) * group_size
            ]
            grad_key[:, start:end] += torch.bmm(grad_scores.transpose(1, 2), queries[:, block])
        return grad_queries, grad_key.to(key.dtype), grad_value.to(value.dtype), None, None


def _blocks(lengths: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
    """For each block of queries, as token positions: (start of its example, its start, its end, its end rounded up to a block multiple)."""
    start = 0
    for length in lengths:
        for first in range(0, length, BLOCK):
            last = min(first + BLOCK, length)
            yield start, start + first, start + last, start + first + -(-(last - first) // _BLOCK_MULTIPLE) * _BLOCK_MULTIPLE
        start += length


@lru_cache(maxsize=64)
def _future_mask(positions: int, group_size: int) -> Tensor:
    """bool [positions x group size, positions]: whether the key (column) comes after the query (row)."""
    return torch.ones(positions, positions, dtype=torch.bool).triu_(1).repeat_interleave(group_size, dim=0)
