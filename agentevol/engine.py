"""A language model with one growing key-value cache per slot: the `transformers` engine.

Each slot holds one conversation. Every call appends tokens to some of the slots; what was read or said is never encoded again.
Works with any causal model of transformers that keeps keys and values (Llama, Qwen, GPT-2 and their kin), on CPU or one GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache

from agentevol.chat import Chat
from agentevol.models import load_model, load_tokenizer, model_digest
from agentevol.slots import SlotLayer, View


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
        self._row: dict[int, int] = {}
        # One column more than the context holds: pads that find no other place go there.
        self._layers = [SlotLayer(slots, self.context + 1) for _ in range(self.model.config.num_hidden_layers)]
        self._cache = Cache(layers=self._layers)

    @torch.inference_mode()
    def clear(self, slot: int) -> None:
        """Forget a slot's conversation."""
        self.lengths[slot] = 0
        row = self._row.pop(slot, None)
        if row is not None:
            last = len(self._row)
            for layer in self._layers:
                layer.move(last, to=row)
            self._row = {other: row if place == last else place for other, place in self._row.items()}

    @torch.inference_mode()
    def append(self, slots: Sequence[int], pieces: Sequence[Sequence[int]]) -> Tensor:
        """Feed each slot its piece (all non-empty). Raises ValueError when a slot would outgrow the context.

        RuntimeError of the forward pass (out of memory) is let through: then no slot has grown, and those fed must be cleared.
        """
        sizes = np.array([len(piece) for piece in pieces])
        ends = self.lengths[list(slots)] + sizes
        if int(ends.max()) > self.context:
            raise ValueError(f"a conversation of {int(ends.max())} tokens does not fit the context of {self.context}")
        for slot in slots:
            self._row.setdefault(slot, len(self._row))
        given = {self._row[slot]: piece for slot, piece in zip(slots, pieces, strict=True)}
        # One token each for most rows: the others get one that is written over later, which costs less than picking rows out.
        front = sizes.max() == 1 and 2 * len(slots) > len(self._row)
        rows = list(range(len(self._row))) if front else sorted(given)
        logits = self._forward(rows, [given.get(row, (0,)) for row in rows])
        self.lengths[list(slots)] = ends
        return logits[[rows.index(self._row[slot]) for slot in slots]].float()

    def _forward(self, rows: list[int], pieces: Sequence[Sequence[int]]) -> Tensor:
        """The logits after each row's piece: [rows, vocabulary]."""
        width, last = max(len(piece) for piece in pieces), np.array([len(piece) - 1 for piece in pieces])
        ids = np.zeros((len(rows), width), dtype=np.int64)
        for index, piece in enumerate(pieces):
            ids[index, : len(piece)] = piece
        slot_in = {row: slot for slot, row in self._row.items()}
        starts = self.lengths[[slot_in[row] for row in rows]]
        # The pads of a short row go where its next piece will be written over them (at the very end: into the spare column), and no real
        # query looks that far, since each sees the positions up to its own only.
        positions = torch.as_tensor(np.minimum(starts[:, None] + np.arange(width)[None, :], self.context), device=self.device)
        limit = int(min(starts.max() + width, self.context + 1))
        view = View(torch.as_tensor(rows, device=self.device), positions, limit, front=rows == list(range(len(rows))))
        for layer in self._layers:
            layer.view = view
        visible = torch.arange(limit, device=self.device)[None, None, None, :] <= positions[:, None, :, None]
        mask = torch.zeros(visible.shape, dtype=self.model.dtype, device=self.device)
        columns = np.unique(last)
        logits: Tensor = self.model(
            input_ids=torch.as_tensor(ids, device=self.device),
            attention_mask=mask.masked_fill_(~visible, torch.finfo(mask.dtype).min),
            position_ids=positions.clamp(max=self.context - 1),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=torch.as_tensor(columns, device=self.device),
        ).logits
        return logits[torch.arange(len(rows)), torch.as_tensor(np.searchsorted(columns, last))]


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
