"""The key-value cache of many conversations, one row for each.

Invariant: a row is valid up to its own length, which the engine keeps; what lies beyond is never read. A forward pass takes the new tokens
of all rows as one flat sequence without padding, so a row that reads fifty tokens and a row that generates one share a pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin


class RaggedCacheLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is not typed
    """Keys and values of one layer: [rows, key-value heads, capacity, head dimension]."""

    is_sliding = False

    def __init__(self, rows: int, capacity: int) -> None:
        super().__init__()
        self.rows, self.capacity = rows, capacity
        self.write_index: tuple[Tensor, Tensor] | None = None
        """Row and position of every token of the current forward pass."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        for name, states in (("keys", key_states), ("values", value_states)):
            shape = (self.rows, states.shape[1], self.capacity, states.shape[3])
            setattr(self, name, torch.empty(shape, dtype=states.dtype, device=states.device))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Store the keys and values of the new tokens. Returns the whole cache; `ragged_attention` reads the valid part of it."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.write_index is not None
        assert self.keys is not None
        assert self.values is not None
        rows, positions = self.write_index
        self.keys[rows, :, positions] = key_states[0].transpose(0, 1)
        self.values[rows, :, positions] = value_states[0].transpose(0, 1)
        return self.keys, self.values

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of row `source` to row `target`."""
        for states in (self.keys, self.values):
            assert states is not None
            states[target, :, :length] = states[source, :, :length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.capacity, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return self.capacity
