"""A language model with one growing key-value cache per slot: the `transformers` engine.

Each slot holds one conversation. Every call appends tokens to some of the slots; what was read or said is never encoded again.
Works with any causal model of transformers that keeps keys and values (Llama, Qwen, GPT-2 and their kin), on CPU or one GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from agentevol.chat import Chat
from agentevol.models import load_model, load_tokenizer, model_digest


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is not typed
    """Keys and values of one layer: [slots, heads, capacity, width], written at each row's own positions."""

    is_sliding = False

    def __init__(self, slots: int, capacity: int, view: _View) -> None:
        super().__init__()
        self.slots, self.capacity, self.view = slots, capacity, view

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        for name, states in (("keys", key_states), ("values", value_states)):
            shape = (self.slots, states.shape[1], self.capacity, states.shape[3])
            setattr(self, name, torch.zeros(shape, dtype=states.dtype, device=states.device))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, positions, limit = self.view.rows, self.view.positions, self.view.limit
        out = []
        for store, states in ((self.keys, key_states), (self.values, value_states)):
            assert store is not None
            store[rows[:, None], :, positions] = states.transpose(1, 2)
            out.append(store[: len(rows), :, :limit] if self.view.all_rows else store[rows, :, :limit])
        return out[0], out[1]

    def wipe(self, slot: int) -> None:
        for store in (self.keys, self.values) if self.is_initialized else ():
            assert store is not None
            store[slot] = 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.view.limit, 0

    def get_seq_length(self) -> int:
        return self.view.limit

    def get_max_length(self) -> int:
        return self.capacity


class _View:
    """Which rows the next forward pass writes, and where."""

    rows: Tensor
    positions: Tensor
    limit: int
    all_rows: bool


class TransformersEngine:
    """Model, tokenizer and cache. `append` feeds tokens to slots and returns the next-token logits of each: float32 [rows, vocabulary]."""

    def __init__(self, folder: Path, *, slots: int, context: int, dtype: str = "float32") -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = load_model(folder, dtype).to(self.device)
        self.chat = Chat(load_tokenizer(folder))
        self.digest = model_digest(folder)
        self.slots = slots
        self.context = min(context, int(getattr(self.model.config, "max_position_embeddings", context) or context))
        self.lengths = np.zeros(slots, dtype=np.int64)
        self._view = _View()
        self._layers = [_SlotLayer(slots, self.context + 1, self._view) for _ in range(self.model.config.num_hidden_layers)]
        self._cache = Cache(layers=self._layers)

    @torch.inference_mode()
    def clear(self, slot: int) -> None:
        """Forget a slot's conversation. Its memory is zeroed: a mask hides numbers from the next one, but not NaN or infinity."""
        self.lengths[slot] = 0
        for layer in self._layers:
            layer.wipe(slot)

    @torch.inference_mode()
    def append(self, slots: Sequence[int], pieces: Sequence[Sequence[int]]) -> Tensor:
        """Feed each slot its piece (all non-empty). Raises ValueError when a slot would outgrow the context.

        RuntimeError of the forward pass (out of memory) is let through: then no slot has grown, and those fed must be cleared.
        """
        ends = self.lengths[list(slots)] + [len(piece) for piece in pieces]
        if int(ends.max()) > self.context:
            raise ValueError(f"a conversation of {int(ends.max())} tokens does not fit the context of {self.context}")
        width = max(len(piece) for piece in pieces)
        # One token each for most of the slots: taking all of them, the idle ones with a token that is written over later, saves the copy
        # of the cache that picking rows would cost.
        rows = list(range(self.slots)) if width == 1 and 2 * len(slots) > self.slots else list(slots)
        given = dict(zip(slots, pieces, strict=True))
        ids = np.zeros((len(rows), width), dtype=np.int64)
        last = np.zeros(len(rows), dtype=np.int64)
        for row, slot in enumerate(rows):
            piece = given.get(slot, (0,))
            ids[row, : len(piece)] = piece
            last[row] = len(piece) - 1
        hidden = self._forward(rows, ids, last)
        self.lengths[list(slots)] = ends
        wanted = [rows.index(slot) for slot in slots] if len(rows) > len(slots) else range(len(rows))
        kept = {int(column): index for index, column in enumerate(np.unique(last))}
        return torch.stack([hidden[row, kept[int(last[row])]] for row in wanted]).float()

    def _forward(self, rows: list[int], ids: np.ndarray, last: np.ndarray) -> Tensor:
        """Logits at the columns of `last`, ascending and each once: [rows, columns, vocabulary]."""
        start, width = self.lengths[rows], ids.shape[1]
        # The pads of a short row go where its next piece will be written over them (at the very end: into the spare column), and no real
        # query looks that far, since each sees the positions up to its own only.
        positions = np.minimum(start[:, None] + np.arange(width)[None, :], self.context)
        view, dtype = self._view, self.model.dtype
        view.rows = torch.as_tensor(np.asarray(rows), device=self.device)
        view.positions = torch.as_tensor(positions, device=self.device)
        view.limit = int(min(start.max() + width, self.context + 1))
        view.all_rows = rows == list(range(self.slots))
        visible = torch.arange(view.limit, device=self.device)[None, None, None, :] <= view.positions[:, None, :, None]
        mask = torch.zeros(visible.shape, dtype=dtype, device=self.device).masked_fill_(~visible, torch.finfo(dtype).min)
        logits: Tensor = self.model(
            input_ids=torch.as_tensor(ids, device=self.device),
            attention_mask=mask,
            position_ids=view.positions.clamp(max=self.context - 1),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=torch.as_tensor(np.unique(last), device=self.device),
        ).logits
        return logits


def usable(logits: Tensor) -> list[bool]:
    """Whether each row is free of NaN and infinity."""
    found: list[bool] = torch.isfinite(logits).all(dim=-1).tolist()
    return found


def choose(logits: Tensor, *, temperature: float, top_p: float, uniforms: Sequence[float]) -> list[int]:
    """The next token of each row: the likeliest at temperature 0, else drawn by inverting the distribution at the row's own uniform number.

    One number per token, from the episode's own stream, so that a sample depends on its episode and not on who shares the batch; what is
    left of the batch is the rounding of the matrix products, which differs between batch shapes (about 1e-6 relative in float32).
    """
    if temperature == 0.0:
        return [int(token) for token in logits.argmax(dim=-1)]
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    cumulative = ordered.cumsum(dim=-1)
    if top_p < 1.0:
        ordered = torch.where(cumulative - ordered < top_p, ordered, torch.zeros_like(ordered))
        cumulative = ordered.cumsum(dim=-1)
    target = torch.as_tensor(np.asarray(uniforms), dtype=torch.float64, device=logits.device)[:, None] * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, target, right=True).clamp(max=logits.shape[-1] - 1)
    return [int(token) for token in order.gather(1, index)[:, 0]]
