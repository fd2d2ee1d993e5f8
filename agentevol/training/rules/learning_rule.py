"""What a learning rule is: it turns a dataset's episodes into the terms of a loss, and defines the loss.

Invariant: a rule never changes an episode's tokens. Rules import no PyTorch at the top of their file, because flows ask for their class
attributes and must start quickly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from agentevol.training.term_batch import TermBatch
    from agentevol.training.tokenized_dataset import TokenizedDataset


@dataclass(frozen=True, slots=True)
class LossTerm:
    """A term of the loss: the indices of its episodes in the dataset (one, or several that are compared), and its weight.

    The episodes of a term go through the model in the same forward pass.
    """

    episodes: tuple[int, ...]
    weight: float = 1.0


class LearningRule(ABC):
    """A rule, without state. Subclasses implement `loss_terms`; the default loss is weighted likelihood."""

    averages_terms: ClassVar[bool] = False
    """Whether a step's loss is a mean over its terms, whatever `finetune.loss_aggregation` says."""

    @abstractmethod
    def loss_terms(self, dataset: TokenizedDataset, usable: Sequence[bool]) -> list[LossTerm]:
        """The terms of the loss, in an order that depends on the dataset only.

        usable: for each episode, whether it is short enough to train on and has tokens in the loss. A term with an episode that is not
        usable, or with weight 0, is left out by the caller.
        """

    def loss(self, batch: TermBatch, model: Any, device: torch.device) -> Tensor:
        """The sum of the batch's terms, in nats: a scalar, which the step divides by its trained tokens or by its mean number of terms.

        Here the sum over the policy's tokens of weight(term) * -log p(token). Other rules begin with `batch.logprobs(model, device)`.
        """
        return batch.weighted_nll(model, device)
