"""Attention of many conversations at once over the KV cache, each at its own length.

Invariant: a token attends to its own row alone, so its result is that of the conversation by itself. The layout of the batch reaches the
attention function in the place of the attention mask, which models pass on unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from agentevol.attention_options import check_attention_options
from agentevol.rollout.kv_cache import RaggedCacheLayer

RAGGED_ATTENTION = "agentevol_ragged"
"""The name under which transformers knows `ragged_attention`."""


@dataclass(frozen=True, slots=True)
class BatchLayout:
    """The rows of a forward pass: row rows[i] of the cache holds cached_lengths[i] tokens and gets new_lengths[i] more."""

    rows: list[int]
    cached_lengths: list[int]
    new_lengths: list[int]

    def as_attention_mask(self) -> Tensor:
        """The layout as a tensor [1, 1, 3, rows]. It stays on the CPU, because no GPU kernel reads it."""
        return torch.tensor([self.rows, self.cached_lengths, self.new_lengths])[None, None]

    @classmethod
    def from_attention_mask(cls, mask: Tensor) -> BatchLayout:
        return cls(*mask[0, 0].tolist())

    def token_positions(self) -> tuple[list[int], list[int]]:
        """The row and the position of every new token, in the order of the flat sequence."""
        rows = [row for row, length in zip(self.rows, self.new_lengths, strict=True) for _ in range(length)]
        positions = [cached + i for cached, new in zip(self.cached_lengths, self.new_lengths, strict=True) for i in range(new)]
        return rows, positions

    def last_positions(self) -> list[int]:
        """Where the last new token of each row is in the flat sequence."""
        return [end - 1 for end in accumulate(self.new_lengths)]


def ragged_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float | None = None, **options: Any
) -> tuple[Tensor, None]:
    """Attention of new tokens, query [1, heads, tokens, width], over the cache, key and value [rows, key heads, capacity, width].

    `attention_mask`: BatchLayout.as_attention_mask(). Returns [1, tokens, heads, width]. Raises NotImplementedError for attention with
    options that are not supported here.
    """
    check_attention_options(options, "this engine does not support models whose attention has")
    layout, window = BatchLayout.from_attention_mask(attention_mask), options.get("sliding_window")
    _, heads, tokens, width = query.shape
    key_heads = key.shape[1]
    queries = query[0].transpose(0, 1).reshape(tokens, key_heads, heads // key_heads, width)  # grouped by the key head that they use
    out = query.new_empty(tokens, key_heads, heads // key_heads, width)
    offset = 0
    for row, cached, new in zip(layout.rows, layout.cached_lengths, layout.new_lengths, strict=True):
        end, first = cached + new, max(0, cached + 1 - window) if window else 0
        keys, values = key[row : row + 1, :, first:end], value[row : row + 1, :, first:end]
        if new == 1:
            out[offset] = scaled_dot_product_attention(queries[offset : offset + 1], keys, values, scale=scaling)[0]
        else:
            row_queries = queries[offset : offset + new].permute(1, 2, 0, 3)  # key heads, group, tokens, width
            row_out = scaled_dot_product_attention(
                row_queries.reshape(1, heads, new, width),
                keys.repeat_interleave(heads // key_heads, dim=1),
                values.repeat_interleave(heads // key_heads, dim=1),
                attn_mask=None if cached == first == 0 and not window else _causal_mask(cached, new, first, window, query.device),
                is_causal=cached == first == 0 and not window,
                scale=scaling,
            )
            out[offset : offset + new] = row_out.reshape(key_heads, heads // key_heads, new, width).permute(2, 0, 1, 3)
        offset += new
    return out.reshape(1, tokens, heads, width), None


def _causal_mask(cached: int, new: int, first: int, window: int | None, device: torch.device) -> Tensor:
    """Which positions, from `first` on, each of `new` tokens may attend to: bool [new, positions]."""
    query_positions = torch.arange(cached, cached + new, device=device)[:, None]
    key_positions = torch.arange(first, cached + new, device=device)[None, :]
    causal = key_positions <= query_positions
    return causal & (key_positions > query_positions - window) if window else causal


class RowCache:
    """The cache of an engine on a CPU: one row of the longest allowed length for each slot, of which only touched pages take memory."""

    attention = RAGGED_ATTENTION
    max_tokens = None

    def __init__(self, num_layers: int, num_slots: int, context_length: int, device: torch.device) -> None:
        self.device = device
        self.layers = [RaggedCacheLayer(num_slots, context_length) for _ in range(num_layers)]

    def reserve(self, slot: int, length: int) -> bool:
        return True

    def release(self, slot: int, *, damaged: bool = False) -> None:
        """Nothing to do: what lies behind a row's length is never read."""

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        for layer in self.layers:
            layer.copy_prefix(source, target, length)

    def start_pass(self, batch: BatchLayout) -> Tensor:
        """Prepare the layers for a forward pass; returns the positions of its tokens."""
        rows, positions = (torch.tensor(index, device=self.device) for index in batch.token_positions())
        for layer in self.layers:
            layer.write_index = rows, positions
        return positions


AttentionInterface.register(RAGGED_ATTENTION, ragged_attention)
