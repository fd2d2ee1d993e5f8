"""The key-value cache on a GPU: blocks of tokens that conversations take as they grow, within a budget.

Invariant: memory is allocated for blocks that were needed, never for the longest conversation that would be allowed. A block belongs to
one row or is free, and has the same number in every layer. Freed blocks hold finite numbers, so that masked positions add nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin

BLOCK = 256
"""Tokens of a block; paged attention kernels ask for a multiple of 256."""
_GROWTH = 1.25


class BlockAllocator:
    """Which blocks each row has. `max_blocks`: the budget; None has none."""

    def __init__(self, max_blocks: int | None = None) -> None:
        self.max_blocks = max_blocks
        self.num_blocks = 0
        self.blocks: dict[int, list[int]] = {}
        self._free: list[int] = []

    def reserve(self, row: int, length: int) -> bool:
        """Give the row blocks for `length` tokens. False, with nothing changed, if the budget does not allow that."""
        owned = self.blocks.setdefault(row, [])
        missing = -(-length // BLOCK) - len(owned)
        if missing > len(self._free):
            target = self.num_blocks + missing - len(self._free)
            if self.max_blocks is not None and target > self.max_blocks:
                return False
            grown = max(target, int(self.num_blocks * _GROWTH))
            grown = grown if self.max_blocks is None else min(grown, self.max_blocks)
            self._free += range(grown - 1, self.num_blocks - 1, -1)
            self.num_blocks = grown
        for _ in range(missing):
            owned.append(self._free.pop())
        return True

    def release(self, row: int) -> list[int]:
        """Free the row's blocks; returns them."""
        blocks = self.blocks.pop(row, [])
        self._free += reversed(blocks)
        return blocks

    def table(self, rows: list[int], lengths: list[int]) -> list[list[int]]:
        """The blocks that hold the first lengths[i] tokens of rows[i], padded with block 0 to the same number for each row."""
        used = [self.blocks[row][: -(-length // BLOCK)] for row, length in zip(rows, lengths, strict=True)]
        longest = max(map(len, used))
        return [blocks + [0] * (longest - len(blocks)) for blocks in used]


class PagedCacheLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is not typed
    """Keys and values of one layer: [blocks, BLOCK, key heads, head width]."""

    is_sliding = False

    def __init__(self, allocator: BlockAllocator) -> None:
        super().__init__()
        self.allocator = allocator
        self.write_index: tuple[Tensor, Tensor] | None = None
        """Block and offset of every token of the current forward pass."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        for name, states in (("keys", key_states), ("values", value_states)):
            setattr(self, name, states.new_zeros(0, BLOCK, states.shape[1], states.shape[3]))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Store the keys and values of the new tokens. Returns all blocks; `paged_attention` reads those of its rows."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self._grow()
        assert self.write_index is not None
        blocks, offsets = self.write_index
        self.keys[blocks, offsets] = key_states[0].transpose(0, 1)  # type: ignore[index]
        self.values[blocks, offsets] = value_states[0].transpose(0, 1)  # type: ignore[index]
        return self.keys, self.values  # type: ignore[return-value]

    def copy_prefix(self, source: list[int], target: list[int], length: int) -> None:
        """Copy the first `length` tokens of the blocks `source` to the blocks `target`."""
        self._grow()
        count = -(-length // BLOCK)
        for states in (self.keys, self.values):
            states[target[:count]] = states[source[:count]]  # type: ignore[index]  # tokens beyond `length` are masked, then overwritten

    @torch.inference_mode()
    def wipe(self, blocks: list[int]) -> None:
        """Overwrite blocks that may hold NaN or infinity."""
        for states in (self.keys, self.values):
            if states is not None and blocks:
                states[[block for block in blocks if block < states.shape[0]]] = 0

    def _grow(self) -> None:
        """Add the blocks that the allocator has given out since; layer by layer, so that only one layer is there twice."""
        missing = self.allocator.num_blocks - self.keys.shape[0]  # type: ignore[union-attr]
        if missing > 0:
            for name in ("keys", "values"):
                states = getattr(self, name)
                setattr(self, name, torch.cat([states, states.new_zeros(missing, *states.shape[1:])]))

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.allocator.num_blocks * BLOCK, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return self.allocator.num_blocks * BLOCK
