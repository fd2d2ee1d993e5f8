"""Examples in right-padded batches: for pretraining, and for models whose attention cannot be packed (packing.py).

Invariant: padding never changes the loss; only the positions that the loss mask names go through the output layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agentevol.training.chunked_loss import token_logprobs, token_nll
from agentevol.training.micro_batch import WeightedExample

IGNORE_INDEX = -100
"""The label of a token that is not in the loss (PyTorch's and transformers' convention)."""
LENGTH_MULTIPLE = 64
"""Rows are padded to a multiple of this many tokens: few shapes keep the allocator small, sorted lengths keep the padding small."""
SORT_WINDOW = 256
"""The number of examples that are sorted by length together."""


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """Right-padded rows. `ids`, `labels`: int64 [rows, length] (IGNORE_INDEX where not in the loss); `weights`: float32 [rows]."""

    ids: Tensor
    labels: Tensor
    weights: Tensor

    @classmethod
    def from_examples(cls, examples: Sequence[WeightedExample], pad_id: int) -> PaddedBatch:
        width = padded_length(max(len(example.token_ids) for example, _ in examples))
        ids = np.full((len(examples), width), pad_id, dtype=np.int64)
        in_loss = np.zeros((len(examples), width), dtype=bool)
        for row, (example, _) in enumerate(examples):
            ids[row, : len(example.token_ids)] = example.token_ids
            in_loss[row, : len(example.token_ids)] = example.loss_mask
        labels = np.where(in_loss, ids, IGNORE_INDEX)
        weights = torch.tensor([weight for _, weight in examples], dtype=torch.float32)
        return cls(torch.from_numpy(ids), torch.from_numpy(labels), weights)

    @property
    def loss_mask(self) -> Tensor:
        """Whether the token after each position is in the loss: bool [rows, length - 1]."""
        return self.labels[:, 1:] != IGNORE_INDEX

    @property
    def trained_tokens(self) -> int:
        return int(self.loss_mask.sum())

    @property
    def targets(self) -> Tensor:
        """The ids of the tokens in the loss, row by row: int64 [trained tokens]."""
        return self.labels[:, 1:][self.loss_mask]

    @property
    def target_weights(self) -> Tensor:
        """The weights of their examples: float32 [trained tokens]."""
        loss_mask = self.loss_mask
        return self.weights[:, None].expand_as(loss_mask)[loss_mask]

    def loss_sum(self, model: Any, device: torch.device) -> Tensor:
        return token_nll(model, lambda: self.logits(model, device), self.targets.to(device), self.target_weights.to(device))

    def logprobs(self, model: Any, device: torch.device) -> Tensor:
        return token_logprobs(model, lambda: self.logits(model, device), self.targets.to(device))

    def logits(self, model: Any, device: torch.device) -> Tensor:
        """The logits of every trained token: [trained tokens, vocabulary], row by row."""
        loss_mask = self.loss_mask.to(device)
        # Only the positions in the loss go through the output layer: most of a trajectory is the environment's text. A hook at that layer
        # leaves the rest of the model's own forward pass alone, so an architecture's changes of its logits (scaling, capping) still apply.
        head = getattr(model, "module", model).get_output_embeddings()
        # It comes before other hooks there: what chunked_loss.py intercepts are the positions in the loss.
        hook = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, :-1][loss_mask][None], *inputs[1:]), prepend=True)
        try:
            # No attention mask: rows are padded on the right, so under a causal mask no trained position sees a padding token.
            logits: Tensor = model(input_ids=self.ids.to(device), use_cache=False).logits
        finally:
            hook.remove()
        return logits[0]


def padded_batches(
    examples: Sequence[WeightedExample], *, tokens: int, epochs: float, seed: int, pad_id: int, sort_window: int = SORT_WINDOW
) -> Iterator[PaddedBatch]:
    """Every example once per epoch (the last epoch may be partial), in batches of about `tokens` tokens, padding included.

    `sort_window`: the number of examples that are sorted by length together; large batches need more for little padding.
    """
    lengths = [len(example.token_ids) for example, _ in examples]
    for group in group_by_length(lengths, tokens=tokens, epochs=epochs, seed=seed, sort_window=sort_window):
        yield PaddedBatch.from_examples([examples[i] for i in group], pad_id)


def group_by_length(
    lengths: Sequence[int], *, tokens: int, epochs: float, seed: int, sort_window: int = SORT_WINDOW
) -> Iterator[list[int]]:
    """The indices of each batch's examples, given the length of every example in tokens.

    Examples are shuffled, sorted by length within a window of several batches, and the batches are shuffled again: little padding, and an
    almost random order.
    """
    rng = np.random.default_rng(seed)
    for order in shuffled_epochs(len(lengths), epochs, rng):
        groups: list[list[int]] = []
        for start in range(0, len(order), sort_window):
            groups += _fill(sorted(order[start : start + sort_window], key=lambda i: lengths[i]), lengths, tokens)
        for position in rng.permutation(len(groups)):
            yield groups[int(position)]


def shuffled_epochs(count: int, epochs: float, rng: np.random.Generator) -> Iterator[list[int]]:
    """The indices below `count` in a new random order for each epoch; the last epoch may be partial, and infinitely many are allowed."""
    epoch = 0
    while epoch < epochs:
        share = min(1.0, epochs - epoch)
        yield [int(i) for i in rng.permutation(count)[: max(1, round(share * count))]]
        epoch += 1


def _fill(by_length: Sequence[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Batches of neighbours, each as large as `tokens` allow. `by_length`: indices, the shortest example first."""
    groups: list[list[int]] = [[]]
    for index in by_length:
        if groups[-1] and (len(groups[-1]) + 1) * padded_length(lengths[index]) > tokens:
            groups.append([])
        groups[-1].append(index)
    return [group for group in groups if group]


def padded_length(length: int) -> int:
    """`length`, rounded up to a multiple of LENGTH_MULTIPLE."""
    return -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
