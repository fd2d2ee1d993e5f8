"""The key-value cache of many conversations, a row for each, and attention over them row by row.

A forward pass is given as one line of tokens: those of the first row, then those of the second, and so on, so that a row that reads fifty
tokens and one that says its next word share a pass without a pad between them. Each row attends to what it has itself, at its true
length: nothing is masked that need not be read. The plan of a pass travels in the place of the attention mask.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin


class RaggedCacheLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is not typed
    """Keys and values of one layer: [rows, heads, capacity, width]. What lies beyond a row's length is never read."""

    is_sliding = False

    def __init__(self, rows: int, capacity: int) -> None:
        super().__init__()
        self.rows, self.capacity = rows, capacity
        self.places: tuple[Tensor, Tensor] | None = None
        """Row and position of every token of the forward pass at hand."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        for name, states in (("keys", key_states), ("values", value_states)):
            shape = (self.rows, states.shape[1], self.capacity, states.shape[3])
            setattr(self, name, torch.empty(shape, dtype=states.dtype, device=states.device))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Store the line's keys and values; returns the whole cache, of which `ragged_attention` reads what the plan says."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.places is not None
        assert self.keys is not None
        assert self.values is not None
        rows, positions = self.places
        self.keys[rows, :, positions] = key_states[0].transpose(0, 1)
        self.values[rows, :, positions] = value_states[0].transpose(0, 1)
        return self.keys, self.values

    def copy(self, source: int, to: int, length: int) -> None:
        """Give row `to` the first `length` positions of row `source`."""
        for store in (self.keys, self.values):
            assert store is not None
            store[to, :, :length] = store[source, :, :length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.capacity, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return self.capacity
