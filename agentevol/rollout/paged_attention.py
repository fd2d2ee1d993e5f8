"""Attention of many conversations over the paged cache, in one call for all rows and without waiting for the GPU.

Invariant: a token attends to its own row alone. A pass is either decoding (one new token for each row) or prefill (rows padded to the
longest); both read the same layout, whose tensors are made once a pass and copied to the GPU without a synchronisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from agentevol.attention_options import check_attention_options
from agentevol.rollout.paged_cache import BLOCK, BlockAllocator, PagedCacheLayer
from agentevol.rollout.ragged_attention import BatchLayout

PAGED_ATTENTION = "agentevol_paged"
"""The name under which transformers knows `paged_attention`."""


@dataclass(slots=True)
class PagedLayout:
    """The rows of a forward pass, as tensors on the device.

    `table`: int32 [rows, blocks]; `cached_lengths`, `lengths`: int32 [rows], tokens before and after the pass; `starts`: int32 [rows + 1],
    where the new tokens of each row begin in the flat sequence; `query_rows`, `query_offsets`: int64 [tokens], the row of every new token
    and its number in it; `max_new`, `max_length`: over the rows.
    """

    table: Tensor
    cached_lengths: Tensor
    lengths: Tensor
    starts: Tensor
    query_rows: Tensor
    query_offsets: Tensor
    max_new: int
    max_length: int

    @classmethod
    def create(cls, table: list[list[int]], cached_lengths: list[int], new_lengths: list[int], device: torch.device) -> PagedLayout:
        starts = [0]
        for new in new_lengths:
            starts.append(starts[-1] + new)
        lengths = [cached + new for cached, new in zip(cached_lengths, new_lengths, strict=True)]
        numbers = [(row, offset) for row, new in enumerate(new_lengths) for offset in range(new)]
        return cls(
            table=to_device(table, device, torch.int32),
            cached_lengths=to_device(cached_lengths, device, torch.int32),
            lengths=to_device(lengths, device, torch.int32),
            starts=to_device(starts, device, torch.int32),
            query_rows=to_device([row for row, _ in numbers], device, torch.int64),
            query_offsets=to_device([offset for _, offset in numbers], device, torch.int64),
            max_new=max(new_lengths),
            max_length=max(lengths),
        )

    def write_index(self) -> tuple[Tensor, Tensor]:
        """Block and offset of every new token."""
        positions = self.positions()
        blocks = self.table[self.query_rows, torch.div(positions, BLOCK, rounding_mode="floor")].long()
        return blocks, positions % BLOCK

    def positions(self) -> Tensor:
        """int64 [tokens]."""
        return self.cached_lengths[self.query_rows] + self.query_offsets


def to_device(values: list[Any], device: torch.device, dtype: torch.dtype) -> Tensor:
    """A tensor on the device; to a GPU from pinned memory, so that the program does not wait for the copy."""
    if device.type != "cuda":
        return torch.tensor(values, dtype=dtype, device=device)
    return torch.tensor(values, dtype=dtype, pin_memory=True).to(device, non_blocking=True)


_current: PagedLayout | None = None


class PagedCache:
    """The cache of an engine, and the layout of its current forward pass. `budget`: bytes for keys and values; None has no limit."""

    attention = PAGED_ATTENTION

    def __init__(self, num_layers: int, bytes_per_token: int, budget: int | None, device: torch.device) -> None:
        self.device = device
        self.allocator = BlockAllocator(None if budget is None else budget // (BLOCK * bytes_per_token))
        self.layers = [PagedCacheLayer(self.allocator) for _ in range(num_layers)]

    @property
    def max_tokens(self) -> int | None:
        """What the budget holds; None: any number."""
        return None if self.allocator.max_blocks is None else self.allocator.max_blocks * BLOCK

    def reserve(self, slot: int, length: int) -> bool:
        return self.allocator.reserve(slot, length)

    def release(self, slot: int, *, damaged: bool = False) -> None:
        """Free the slot's blocks. `damaged`: they may hold NaN or infinity."""
        blocks = self.allocator.release(slot)
        for layer in self.layers if damaged else []:
            layer.wipe(blocks)

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        self.reserve(target, length)
        blocks = self.allocator.blocks
        for layer in self.layers:
            layer.copy_prefix(blocks[source], blocks[target], length)

    def start_pass(self, batch: BatchLayout) -> Tensor:
        """Prepare the layers and the attention function for a forward pass; returns the positions of its tokens."""
        global _current
        lengths = [cached + new for cached, new in zip(batch.cached_lengths, batch.new_lengths, strict=True)]
        for slot, length in zip(batch.rows, lengths, strict=True):
            if not self.reserve(slot, length):
                raise RuntimeError(f"the KV cache of {self.max_tokens} tokens is full")
        table = self.allocator.table(batch.rows, lengths)
        # The attention function finds the layout here: models pass only tensors of their own shapes on to it.
        _current = PagedLayout.create(table, batch.cached_lengths, batch.new_lengths, self.device)
        write_index = _current.write_index()
        for layer in self.layers:
            layer.write_index = write_index
        return _current.positions()


def paged_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None = None, **options: Any
) -> tuple[Tensor, None]:
    """Attention of the new tokens, query [1, heads, tokens, width], over blocks of keys and values [blocks, BLOCK, key heads, width].

    Returns [1, tokens, heads, width]. Raises NotImplementedError for attention with options that are not supported here.
    """
    check_attention_options(options, "this engine does not support models whose attention has")
    assert _current is not None, "paged attention outside of a forward pass of the engine"
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    window = options.get("sliding_window")
    queries = query[0].transpose(0, 1)
    use_kernel = queries.device.type == "cuda" and kernel_works(
        queries.device.index or 0, queries.dtype, queries.shape[1], key.shape[2], queries.shape[2]
    )
    attend = kernel_attention if use_kernel else gathered_attention
    return attend(queries, key, value, _current, scale, window)[None], None


def gathered_attention(queries: Tensor, key: Tensor, value: Tensor, layout: PagedLayout, scale: float, window: int | None) -> Tensor:
    """With PyTorch's attention over the gathered blocks: queries [tokens, heads, width]; returns the same shape."""
    rows, blocks = layout.table.shape
    heads, key_heads, width = queries.shape[1], key.shape[2], queries.shape[2]
    group, new = heads // key_heads, layout.max_new
    keys, values = (states[layout.table.long()].reshape(rows, blocks * BLOCK, key_heads, -1).transpose(1, 2) for states in (key, value))
    grouped = queries.reshape(-1, key_heads, group, width)
    padded = queries.new_zeros(rows, key_heads, group, new, width)
    padded[layout.query_rows, :, :, layout.query_offsets] = grouped
    key_positions = torch.arange(blocks * BLOCK, device=queries.device)
    query_positions = layout.cached_lengths[:, None] + torch.arange(new, device=queries.device)
    visible = key_positions <= query_positions[:, :, None]
    if window:
        visible &= key_positions > query_positions[:, :, None] - window
    mask = visible[:, None, None].expand(rows, 1, group, new, -1).reshape(rows, 1, group * new, -1)
    out = scaled_dot_product_attention(padded.flatten(2, 3), keys, values, attn_mask=mask, scale=scale)
    return out.reshape(rows, key_heads, group, new, -1)[layout.query_rows, :, :, layout.query_offsets].reshape(-1, heads, out.shape[-1])


def kernel_attention(queries: Tensor, key: Tensor, value: Tensor, layout: PagedLayout, scale: float, window: int | None) -> Tensor:
    """With PyTorch's paged flash attention, which reads the blocks where they are: queries [tokens, heads, width]; the same shape."""
    from torch.nn.attention.varlen import varlen_attn

    out: Tensor = varlen_attn(  # type: ignore[assignment]
        queries.contiguous(),
        key,
        value,
        layout.starts,
        None,
        layout.max_new,
        layout.max_length,
        scale=scale,
        window_size=(window - 1, 0) if window else (-1, 0),
        enable_gqa=queries.shape[1] != key.shape[2],
        seqused_k=layout.lengths,
        block_table=layout.table,
    )
    return out


@cache
def kernel_works(device_index: int, dtype: torch.dtype, heads: int, key_heads: int, width: int) -> bool:
    """Whether this PyTorch and this GPU have the paged kernel, and it gives what PyTorch's attention gives. Waits for the GPU, once."""
    device = torch.device("cuda", device_index)
    return agrees(kernel_attention, device, dtype, heads, key_heads, width)


@torch.inference_mode()
def agrees(attend: Callable[..., Tensor], device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, width: int) -> bool:
    """Whether `attend` gives what `gathered_attention` gives on random rows, reading and decoding, with and without a window."""
    generator = torch.Generator().manual_seed(0)
    key, value = (torch.randn(5, BLOCK, key_heads, width, generator=generator).to(device, dtype) for _ in range(2))
    for cached, new in (([300, 5, 0], [1, 1, 1]), ([300, 0, 200], [40, 7, 100])):
        layout = PagedLayout.create([[3, 1], [2, 0], [4, 0]], cached, new, device)
        queries = torch.randn(sum(new), heads, width, generator=generator).to(device, dtype)
        for window in (None, 64):
            expected = gathered_attention(queries, key, value, layout, width**-0.5, window)
            try:
                out = attend(queries, key, value, layout, width**-0.5, window)
            except Exception:  # named boundary: another PyTorch has another signature, another GPU another error
                return False
            if not torch.allclose(out.float(), expected.float(), atol=2e-2, rtol=2e-2):
                return False
    return True


AttentionInterface.register(PAGED_ATTENTION, paged_attention)
