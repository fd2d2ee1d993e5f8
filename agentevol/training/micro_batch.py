"""The input of the optimizer: weighted examples in micro-batches.

Invariant: both kinds of micro-batch, padded (padding.PaddedBatch) and packed (packing.PackedBatch), give the same examples the same loss.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from agentevol.chat.tokenize import TokenizedExample

WeightedExample = tuple[TokenizedExample, float]
"""A tokenised conversation, and the factor of its log-likelihood in the loss."""


class MicroBatch(Protocol):
    """Examples that go through the model in one forward pass."""

    @property
    def trained_tokens(self) -> int:
        """The number of tokens in the loss."""
        ...

    def loss_sum(self, model: Any, device: torch.device) -> Tensor:
        """The loss before the step divides it, in nats; a scalar. Of weighted examples: the sum over trained tokens of weight * -log p."""
        ...


class LogprobBatch(MicroBatch, Protocol):
    """A micro-batch of plain examples: packed or padded."""

    def logprobs(self, model: Any, device: torch.device) -> Tensor:
        """log p of every trained token, in nats, one example after another: float32 [trained tokens]."""
        ...
