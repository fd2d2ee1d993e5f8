"""Packed batches: examples one after another in a single sequence of tokens, without padding and without attention between examples.

Invariant: an example's logits are those that it gets alone. Each example counts its positions from 0 and attends only to itself. The
lengths of the examples reach the attention function in the place of the attention mask. Only positions whose next token is in the loss
go through the output layer.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from agentevol.attention_options import check_attention_options
from agentevol.chat.tokenize import TokenizedExample
from agentevol.training.chunked_loss import token_logprobs, token_nll
from agentevol.training.cpu_attention import cpu_packed_attention
from agentevol.training.gpu_attention import packed_kernel_attention
from agentevol.training.micro_batch import WeightedExample
from agentevol.training.padding import shuffled_epochs

PACKED_ATTENTION = "agentevol_packed"
"""The name of packed attention among transformers' attention implementations."""
_PROBE_IDS = ((1, 2, 3, 4, 5, 6, 7), (3, 1, 4, 1, 5))


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Examples of `lengths` tokens, one after another. `ids`: int64 [tokens].

    `logit_positions`: int64 [trained tokens], the position before each token in the loss, whose logits predict it; `targets`: int64, the
    ids of those tokens; `weights`: float32, the weights of their examples.
    """

    ids: Tensor
    lengths: list[int]
    logit_positions: Tensor
    targets: Tensor
    weights: Tensor

    @classmethod
    def from_examples(cls, examples: Sequence[WeightedExample]) -> PackedBatch:
        lengths = [len(example.token_ids) for example, _ in examples]
        ids = torch.tensor([token for example, _ in examples for token in example.token_ids])
        # Nothing predicts the first token of an example.
        loss_mask = torch.tensor([flag and index > 0 for example, _ in examples for index, flag in enumerate(example.loss_mask)])
        positions = loss_mask.nonzero()[:, 0]
        weights = torch.tensor([weight for _, weight in examples], dtype=torch.float32).repeat_interleave(torch.tensor(lengths))
        return cls(ids, lengths, positions - 1, ids[positions], weights[positions])

    @property
    def tokens(self) -> int:
        return len(self.ids)

    @property
    def trained_tokens(self) -> int:
        return len(self.targets)

    def loss_sum(self, model: Any, device: torch.device) -> Tensor:
        return token_nll(model, lambda: self.logits(model, device), self.targets.to(device), self.weights.to(device))

    def logprobs(self, model: Any, device: torch.device) -> Tensor:
        return token_logprobs(model, lambda: self.logits(model, device), self.targets.to(device))

    def logits(self, model: Any, device: torch.device) -> Tensor:
        """[trained tokens, vocabulary]. The model's attention must be PACKED_ATTENTION."""
        positions = torch.cat([torch.arange(length) for length in self.lengths])
        logits: Tensor = model(
            input_ids=self.ids[None].to(device),
            position_ids=positions[None].to(device),
            attention_mask=torch.tensor(self.lengths)[None, None, None],  # stays off the GPU: no kernel reads it
            logits_to_keep=self.logit_positions.to(device),
            use_cache=False,
        ).logits
        return logits[0]


def pack_batches(lengths: Sequence[int], *, tokens: int, epochs: float, seed: int) -> Iterator[list[int]]:
    """The indices of each step's examples, about `tokens` tokens per step, in random order.

    Every example comes once per epoch (the last epoch may be partial). `lengths`: of every example, in tokens.
    """
    for order in shuffled_epochs(len(lengths), epochs, np.random.default_rng(seed)):
        ordered_lengths = [lengths[i] for i in order]
        yield from (group for group in split_balanced(order, ordered_lengths, -(-sum(ordered_lengths) // tokens)) if group)


def split_balanced(indices: Sequence[int], lengths: Sequence[int], parts: int) -> list[list[int]]:
    """Split `indices` into `parts` consecutive groups of about the same number of tokens; `lengths` belong to `indices`.

    The range of all tokens is cut into equal parts; an example belongs to the part that holds its middle, so groups may be empty.
    """
    total, start = sum(lengths), 0
    groups: list[list[int]] = [[] for _ in range(parts)]
    for index, length in zip(indices, lengths, strict=True):
        groups[(2 * start + length) * parts // (2 * total)].append(index)
        start += length
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
    """Causal attention within each example; query [1, heads, tokens, head width], key and value [1, key heads, tokens, head width].

    `attention_mask`: the lengths of the examples, [1, 1, 1, examples]. Returns [1, tokens, heads, head width] and no attention weights.
    Raises NotImplementedError for options that it does not support.
    """
    check_attention_options(options, "packed attention does not support")
    lengths, window = _lengths(attention_mask), options.get("sliding_window")
    if query.device.type == "cpu" and not window and not dropout:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return cpu_packed_attention(query[0], key[0], value[0], lengths, scale).transpose(0, 1)[None].contiguous(), None
    if query.device.type == "cuda" and not dropout:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        out = packed_kernel_attention(q, k, v, tuple(lengths), scale, window)
        if out is not None:
            return out[None], None
    group_size = query.shape[1] // key.shape[1]
    if group_size > 1:
        key, value = key.repeat_interleave(group_size, dim=1), value.repeat_interleave(group_size, dim=1)
    outputs = []
    for q, k, v in zip(*(torch.split(tensor, lengths, dim=2) for tensor in (query, key, value)), strict=True):
        mask = _sliding_window_mask(q.shape[2], window, q.device) if window and q.shape[2] > window else None
        outputs.append(scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, dropout_p=dropout, scale=scaling))
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


_last_lengths: tuple[weakref.ref[Tensor], list[int]] | None = None


def _lengths(attention_mask: Tensor) -> list[int]:
    """The lengths of the examples. All layers of a pass get the same tensor, which wrappers for several processes move to the GPU: only the
    first layer waits for it."""
    global _last_lengths
    if _last_lengths is None or _last_lengths[0]() is not attention_mask:
        _last_lengths = weakref.ref(attention_mask), attention_mask[0, 0, 0].tolist()
    return _last_lengths[1]


def _sliding_window_mask(length: int, window: int, device: torch.device) -> Tensor:
    """bool [length, length]: whether the query (row) sees the key (column)."""
    positions = torch.arange(length, device=device)
    distance = positions[:, None] - positions[None, :]
    return (distance >= 0) & (distance < window)


@torch.no_grad()
def enable_packed_attention(model: Any) -> bool:
    """Switch the model to packed attention where that leaves its logits as they are; returns whether it did.

    The check runs two packed examples and compares their logits with those that each gets alone: architectures differ in recurrent layers,
    in how they count positions and in their attention, and their configurations do not say so.
    """
    layer_types = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    parameters = inspect.signature(model.forward).parameters
    if not layer_types <= {"full_attention", "sliding_attention"}:
        return False
    if not {"position_ids", "attention_mask", "logits_to_keep"} <= set(parameters):
        return False
    previous, was_training = model.config._attn_implementation, model.training
    examples = [TokenizedExample([token % model.config.vocab_size for token in ids], [True] * len(ids)) for ids in _PROBE_IDS]
    device = next(model.parameters()).device
    model.eval()
    alone = torch.cat([model(input_ids=torch.tensor([e.token_ids], device=device), use_cache=False).logits[0, :-1] for e in examples])
    try:
        model.set_attn_implementation(PACKED_ATTENTION)
        packed = PackedBatch.from_examples([(example, 1.0) for example in examples]).logits(model, device)
        equal = bool(torch.allclose(alone.float(), packed.float(), atol=1e-4 + 1e-3 * float(alone.abs().max())))
    except (NotImplementedError, TypeError, ValueError, RuntimeError, IndexError):  # an architecture may fail in any of these ways
        equal = False
    if not equal:
        model.set_attn_implementation(previous)
    model.train(was_training)
    return equal


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
