"""The key-value cache of many conversations: a row for each, the live ones always in front.

Reading the cache is most of decoding on a CPU, and picking rows out of it would copy it at every token. So the live rows are kept together:
when one leaves, the last one moves into its place, and a forward pass over all of them works on the front of the cache as it lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin


@dataclass(slots=True)
class View:
    """The forward pass at hand: its row i writes row rows[i] of the cache, at `positions` [rows, width]; it reads as far as `limit`."""

    rows: Tensor
    positions: Tensor
    limit: int
    front: bool
    """Whether `rows` are the first ones in order: then they are read as they lie."""


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is not typed
    """Keys and values of one layer: [rows, heads, capacity, width]."""

    is_sliding = False

    def __init__(self, rows: int, capacity: int) -> None:
        super().__init__()
        self.rows, self.capacity = rows, capacity
        self.view: View | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        for name, states in (("keys", key_states), ("values", value_states)):
            shape = (self.rows, states.shape[1], self.capacity, states.shape[3])
            setattr(self, name, torch.zeros(shape, dtype=states.dtype, device=states.device))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        view = self.view
        assert view is not None
        read = []
        for store, states in ((self.keys, key_states), (self.values, value_states)):
            assert store is not None
            store[view.rows[:, None], :, view.positions] = states.transpose(1, 2)
            read.append(store[: len(view.rows), :, : view.limit] if view.front else store[view.rows, :, : view.limit])
        return read[0], read[1]

    def move(self, row: int, to: int) -> None:
        """Put `row` in place of `to`, and leave zeros behind: a mask hides old numbers from a new conversation, but not NaN or infinity."""
        if self.is_initialized:
            for store in (self.keys, self.values):
                assert store is not None
                if row != to:
                    store[to] = store[row]
                store[row].zero_()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length(), 0

    def get_seq_length(self) -> int:
        return self.view.limit if self.view else 0

    def get_max_length(self) -> int:
        return self.capacity
