"""Attention of many conversations at once over the KV cache, each at its own length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

BY_ROW = "agentevol_by_row"


_NOT_SUPPORTED = ("softcap", "s_aux")


@dataclass(frozen=True, slots=True)
class BatchLayout:
    """The forward pass at hand: row rows[i] of the cache holds starts[i] positions and is given sizes[i] more."""

    rows: list[int]
    starts: list[int]
    sizes: list[int]

    def as_mask(self) -> Tensor:
        """The plan in the shape that models hand on untouched to their attention, [1, 1, 3, rows]; not on a GPU, as no kernel reads it."""
        return torch.tensor([self.rows, self.starts, self.sizes])[None, None]

    @classmethod
    def of_mask(cls, mask: Tensor) -> BatchLayout:
        return cls(*mask[0, 0].tolist())

    def places(self) -> tuple[list[int], list[int]]:
        """The row and the position of every token of the line."""
        rows = [row for row, size in zip(self.rows, self.sizes, strict=True) for _ in range(size)]
        return rows, [start + step for start, size in zip(self.starts, self.sizes, strict=True) for step in range(size)]


def ragged_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float | None = None, **options: Any
) -> tuple[Tensor, None]:
    """Attention of a line of tokens, query [1, heads, tokens, width], over the cache, key and value [rows, key heads, capacity, width].

    `attention_mask` is a BatchLayout. Returns [1, tokens, heads, width]. Raises NotImplementedError for what row-wise attention leaves out.
    """
    if asked := [name for name in _NOT_SUPPORTED if options.get(name) is not None]:
        raise NotImplementedError(f"this engine cannot play a model whose attention has {', '.join(asked)}")
    plan, window = BatchLayout.of_mask(attention_mask), options.get("sliding_window")
    _, heads, tokens, width = query.shape
    key_heads = key.shape[1]
    line = query[0].transpose(0, 1).reshape(tokens, key_heads, heads // key_heads, width)  # queries by the key head that they read
    out = query.new_empty(tokens, key_heads, heads // key_heads, width)
    single = set(plan.sizes) == {1}
    if single and query.device.type != "cpu" and len(plan.rows) > 1:
        out[:] = together(line, key, value, plan, scaling, window)
        return out.reshape(1, tokens, heads, width), None
    place = 0
    for row, start, size in zip(plan.rows, plan.starts, plan.sizes, strict=True):
        end, first = start + size, max(0, start + 1 - window) if window else 0
        keys, values = key[row : row + 1, :, first:end], value[row : row + 1, :, first:end]
        if size == 1:
            out[place] = scaled_dot_product_attention(line[place : place + 1], keys, values, scale=scaling)[0]
        else:
            asking = line[place : place + size].permute(1, 2, 0, 3)  # key heads, group, size, width
            found = scaled_dot_product_attention(
                asking.reshape(1, heads, size, width),
                keys.repeat_interleave(heads // key_heads, dim=1),
                values.repeat_interleave(heads // key_heads, dim=1),
                attn_mask=None if start == first == 0 and not window else _causal(start, size, first, window, query.device),
                is_causal=start == first == 0 and not window,
                scale=scaling,
            )
            out[place : place + size] = found.reshape(key_heads, heads // key_heads, size, width).permute(2, 0, 1, 3)
        place += size
    return out.reshape(1, tokens, heads, width), None


def _causal(start: int, size: int, first: int, window: int | None, device: torch.device) -> Tensor:
    """Which of the positions from `first` on each of `size` new ones may see: [size, positions]."""
    asking = torch.arange(start, start + size, device=device)[:, None]
    seen = torch.arange(first, start + size, device=device)[None, :]
    return (seen <= asking) & (seen > asking - window) if window else seen <= asking


def together(line: Tensor, key: Tensor, value: Tensor, plan: BatchLayout, scaling: float | None, window: int | None) -> Tensor:
    """One token for each row in one call, padded to the longest: a GPU waits for every call more than it reads."""
    limit = max(plan.starts) + 1
    rows = torch.tensor(plan.rows, device=key.device)
    ends = torch.tensor(plan.starts, device=key.device)[:, None, None, None]
    seen = torch.arange(limit, device=key.device)[None, None, None, :]
    visible = (seen <= ends) & (seen > ends - window) if window else seen <= ends
    # What lies beyond a row's end was never written and may be NaN; 0 times NaN would spoil the sum.
    values = value[rows, :, :limit].masked_fill(~visible.transpose(2, 3), 0.0)
    return scaled_dot_product_attention(line, key[rows, :, :limit], values, attn_mask=visible, scale=scaling)


AttentionInterface.register(BY_ROW, ragged_attention)
