"""Trajectories one after another in one line of tokens: nothing is padded, and none sees another.

Invariant: a row's logits are those that it has alone. Each row counts its positions from 0 and attends to itself only, at its true length;
the row sizes travel to the attention function in the place of the attention mask. Only positions that teach go through the output layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention as attention
from transformers import AttentionInterface

from agentevol.chat.tokenize import TokenizedExample
from agentevol.training.cpu_attention import cpu_packed_attention
from agentevol.training.padding import orders

PACKED = "agentevol_packed"
_NOT_SUPPORTED = ("softcap", "s_aux", "position_bias")
_PROBE = ((1, 2, 3, 4, 5, 6, 7), (3, 1, 4, 1, 5))


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Rows of `sizes` tokens, one after another. `asked`: the places before a learnt token; `targets` and `weights` of those tokens."""

    ids: Tensor
    sizes: list[int]
    asked: Tensor
    targets: Tensor
    weights: Tensor

    @classmethod
    def of(cls, rows: Sequence[tuple[TokenizedExample, float]]) -> PackedBatch:
        sizes = [len(encoded.token_ids) for encoded, _ in rows]
        ids = torch.tensor([token for encoded, _ in rows for token in encoded.token_ids])
        # The first token of a row follows on nothing.
        learnt = torch.tensor([flag and index > 0 for encoded, _ in rows for index, flag in enumerate(encoded.loss_mask)]).nonzero()[:, 0]
        weights = torch.tensor([weight for _, weight in rows], dtype=torch.float32).repeat_interleave(torch.tensor(sizes))
        return cls(ids, sizes, learnt - 1, ids[learnt], weights[learnt])

    @property
    def tokens(self) -> int:
        return len(self.ids)

    @property
    def trained_tokens(self) -> int:
        return len(self.targets)

    def nll(self, model: Any, device: torch.device) -> Tensor:
        nll = functional.cross_entropy(self.logits(model, device).float(), self.targets.to(device), reduction="none")
        return (nll * self.weights.to(device)).sum()

    def logits(self, model: Any, device: torch.device) -> Tensor:
        """[learnt tokens, vocabulary]. The model's attention must be PACKED."""
        positions = torch.cat([torch.arange(size) for size in self.sizes])
        logits: Tensor = model(
            input_ids=self.ids[None].to(device),
            position_ids=positions[None].to(device),
            attention_mask=torch.tensor(self.sizes)[None, None, None],  # stays off the GPU: no kernel reads it
            logits_to_keep=self.asked.to(device),
            use_cache=False,
        ).logits
        return logits[0]


def pack_batches(lengths: Sequence[int], *, tokens: int, epochs: float, seed: int) -> Iterator[list[int]]:
    """The rows of each step: every row once per epoch (the last epoch may be a part), in random order, about `tokens` tokens a step."""
    for order in orders(len(lengths), epochs, np.random.default_rng(seed)):
        sizes = [lengths[i] for i in order]
        yield from (group for group in cut(order, sizes, -(-sum(sizes) // tokens)) if group)


def cut(order: Sequence[int], sizes: Sequence[int], parts: int) -> list[list[int]]:
    """`parts` groups of neighbours of like sizes; a row belongs to the group in whose stretch its middle lies, so some may be empty."""
    total, place = sum(sizes), 0
    groups: list[list[int]] = [[] for _ in range(parts)]
    for index, size in zip(order, sizes, strict=True):
        groups[(2 * place + size) * parts // (2 * total)].append(index)
        place += size
    return groups


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each row, query [1, heads, tokens, width], key and value [1, key heads, tokens, width].

    `attention_mask`: the sizes of the rows. Returns [1, tokens, heads, width]. Raises NotImplementedError for what it leaves out.
    """
    if asked := [name for name in _NOT_SUPPORTED if options.get(name) is not None]:
        raise NotImplementedError(f"packed attention has no {', '.join(asked)}")
    sizes, window = attention_mask[0, 0, 0].tolist(), options.get("sliding_window")
    if query.device.type == "cpu" and not window and not dropout:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return cpu_packed_attention(query[0], key[0], value[0], sizes, scale).transpose(0, 1)[None].contiguous(), None
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    out = []
    for q, k, v in zip(*(torch.split(line, sizes, dim=2) for line in (query, key, value)), strict=True):
        mask = _windowed(q.shape[2], window, q.device) if window and q.shape[2] > window else None
        out.append(attention(q, k, v, attn_mask=mask, is_causal=mask is None, dropout_p=dropout, scale=scaling))
    return torch.cat(out, dim=2).transpose(1, 2).contiguous(), None


def _windowed(size: int, window: int, device: torch.device) -> Tensor:
    places = torch.arange(size, device=device)
    distance = places[:, None] - places[None, :]
    return (distance >= 0) & (distance < window)


@torch.no_grad()
def enable_packed_attention(model: Any) -> bool:
    """Switch the model to packed attention where two rows in a line get the logits that each gets alone; says whether it did.

    That is tried rather than known: architectures differ in recurrent layers, in how they count positions and in their attention.
    """
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    takes = inspect.signature(model.forward).parameters
    if not kinds <= {"full_attention", "sliding_attention"} or not {"position_ids", "attention_mask", "logits_to_keep"} <= set(takes):
        return False
    before, training = model.config._attn_implementation, model.training
    rows = [TokenizedExample([token % model.config.vocab_size for token in row], [True] * len(row)) for row in _PROBE]
    device = next(model.parameters()).device
    model.eval()
    alone = torch.cat([model(input_ids=torch.tensor([row.token_ids], device=device), use_cache=False).logits[0, :-1] for row in rows])
    try:
        model.set_attn_implementation(PACKED)
        packed = PackedBatch.of([(row, 1.0) for row in rows]).logits(model, device)
        fits = bool(torch.allclose(alone.float(), packed.float(), atol=1e-4 + 1e-3 * float(alone.abs().max())))
    except (NotImplementedError, TypeError, ValueError, RuntimeError, IndexError):  # whatever this architecture makes of the plan
        fits = False
    if not fits:
        model.set_attn_implementation(before)
    model.train(training)
    return fits


AttentionInterface.register(PACKED, packed_attention)
