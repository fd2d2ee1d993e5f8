"""Rows of tokens in right-padded rectangles: for pretraining, and for models whose attention cannot be packed (see packing.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from agentevol.chat.tokenize import TokenizedExample
from agentevol.training.optimizer import IGNORE_INDEX

LENGTH_STEP = 64
"""Rows are padded to a multiple of this: few shapes keep the allocator small, sorted lengths keep the padding small."""
WINDOW = 256
"""Rows that are sorted by length together."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows. `ids`, `labels`: int64 [rows, length] (IGNORE_INDEX where nothing is learnt); `weights`: float32 [rows]."""

    ids: Tensor
    labels: Tensor
    weights: Tensor

    @classmethod
    def of(cls, rows: Sequence[tuple[TokenizedExample, float]], pad: int) -> Batch:
        width = _padded(max(len(encoded.token_ids) for encoded, _ in rows))
        ids = torch.full((len(rows), width), pad, dtype=torch.int64)
        labels = torch.full((len(rows), width), IGNORE_INDEX, dtype=torch.int64)
        for row, (encoded, _) in enumerate(rows):
            length = len(encoded.token_ids)
            ids[row, :length] = torch.tensor(encoded.token_ids)
            labels[row, :length] = torch.where(torch.tensor(encoded.loss_mask, dtype=torch.bool), ids[row, :length], IGNORE_INDEX)
        return cls(ids, labels, torch.tensor([weight for _, weight in rows], dtype=torch.float32))

    @property
    def learnt(self) -> Tensor:
        """Where the next token is learnt: bool [rows, length - 1]."""
        return self.labels[:, 1:] != IGNORE_INDEX

    @property
    def trained_tokens(self) -> int:
        return int(self.learnt.sum())

    def nll(self, model: Any, device: torch.device) -> Tensor:
        return weighted_nll(self._logits(model, device), self)

    def _logits(self, model: Any, device: torch.device) -> Tensor:
        """What predicts each learnt token: [learnt tokens, vocabulary], row by row."""
        learnt = self.learnt.to(device)
        # Only the positions with loss go through the output layer: most of a trajectory is the world's text. A hook at that layer leaves
        # all else to the model's own forward pass, so that what an architecture does with its logits (scaling, capping) is kept.
        head = getattr(model, "module", model).get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, given: (given[0][:, :-1][learnt][None], *given[1:]))
        try:
            # No attention mask: rows are padded on the right, so under a causal mask no learnt position ever sees a pad.
            logits: Tensor = model(input_ids=self.ids.to(device), use_cache=False).logits
        finally:
            hook.remove()
        return logits[0]


def weighted_nll(logits: Tensor, batch: Batch) -> Tensor:
    """Sum over learnt tokens of weight(row) * -log p(token). `logits`: [learnt tokens, vocabulary], where `batch.learnt`."""
    learnt = batch.learnt
    nll = functional.cross_entropy(logits.float(), batch.labels[:, 1:][learnt].to(logits.device), reduction="none")
    return (nll * batch.weights[:, None].expand_as(learnt)[learnt].to(logits.device)).sum()


def batches(rows: Sequence[tuple[TokenizedExample, float]], *, tokens: int, epochs: float, seed: int, pad: int) -> Iterator[Batch]:
    """Every row once per epoch (the last epoch may be a part), in batches of about `tokens` padded tokens of like lengths."""
    for group in group_by_length([len(encoded.token_ids) for encoded, _ in rows], tokens=tokens, epochs=epochs, seed=seed):
        yield Batch.of([rows[i] for i in group], pad)


def group_by_length(lengths: Sequence[int], *, tokens: int, epochs: float, seed: int) -> Iterator[list[int]]:
    """The rows of each batch. They are shuffled, sorted by length within windows of several batches, and the batches shuffled again:
    little padding, little order."""
    rng = np.random.default_rng(seed)
    for order in orders(len(lengths), epochs, rng):
        groups: list[list[int]] = []
        for start in range(0, len(order), WINDOW):
            groups += _fill(sorted(order[start : start + WINDOW], key=lambda i: lengths[i]), lengths, tokens)
        for position in rng.permutation(len(groups)):
            yield groups[int(position)]


def orders(count: int, epochs: float, rng: np.random.Generator) -> Iterator[list[int]]:
    """All rows in a new random order for each epoch; the last epoch may be a part, and of infinitely many there is none."""
    epoch = 0
    while epoch < epochs:
        share = min(1.0, epochs - epoch)
        yield [int(i) for i in rng.permutation(count)[: max(1, round(share * count))]]
        epoch += 1


def _fill(by_length: Sequence[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    groups: list[list[int]] = [[]]
    for index in by_length:
        if groups[-1] and (len(groups[-1]) + 1) * _padded(lengths[index]) > tokens:
            groups.append([])
        groups[-1].append(index)
    return [group for group in groups if group]


def _padded(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP
