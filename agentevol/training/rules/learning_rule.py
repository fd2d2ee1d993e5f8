"""The base class of learning rules. A rule turns a dataset's episodes into the terms of a loss, and defines the loss.

Invariant: a rule never changes an episode's tokens. Rules import no PyTorch at the top of their file, because flows ask for their class
attributes and must start quickly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from agentevol.settings.finetune import LossAggregation
    from agentevol.training.tokenized_dataset import TokenizedDataset


@dataclass(frozen=True, slots=True)
class LossTerm:
    """A term of the loss: the indices of its episodes in the dataset (one, or several that are compared), and its weight.

    The episodes of a term go through the model in the same forward pass.
    """

    episodes: tuple[int, ...]
    weight: float = 1.0


class TermBatch(Protocol):
    """The input of a rule's loss: terms whose episodes go through the model together. A trained token is one in the policy's answers."""

    @property
    def terms(self) -> Sequence[LossTerm]: ...

    def weighted_nll(self, model: Any, device: torch.device) -> Tensor:
        """The sum over trained tokens of weight(term) * -log p(token), aggregated as `aggregate` does; a scalar."""
        ...

    def logprobs(self, model: Any, device: torch.device) -> Tensor:
        """log p of every trained token under `model`, in nats: float32 [trained tokens], one episode after another."""
        ...

    def reference_logprobs(self, like: Tensor) -> Tensor:
        """The same under the policy that training starts from, on the device of `like`. Only for rules with `uses_reference`."""
        ...

    def per_token(self, values: Sequence[float], like: Tensor) -> Tensor:
        """A value of each episode for each of its trained tokens: [trained tokens], of the type and on the device of `like`."""
        ...

    def episode_sums(self, values: Tensor) -> Tensor:
        """The sum over the trained tokens of each episode: [trained tokens] to [episodes]."""
        ...

    def episode_means(self, values: Tensor) -> Tensor:
        """The mean over the trained tokens of each episode: [trained tokens] to [episodes]."""
        ...

    def aggregate(self, token_losses: Tensor) -> Tensor:
        """The sum of the tokens' losses; with finetune.loss_aggregation sequence_mean that of each episode's mean."""
        ...


class LearningRule(ABC):
    """A rule, without state but its options. Subclasses implement `loss_terms`; the default loss is weighted likelihood."""

    averages_terms: ClassVar[bool] = False
    """Whether all terms count the same, whatever `finetune.loss_aggregation` says: a step's sum is divided by the mean number of terms of a
    step."""
    compares_episodes: ClassVar[bool] = False
    """Whether the rule learns from failures as well. Then it gets all explored episodes instead of those that the filter keeps, it starts
    from the policy that explored, and behavioural cloning, which has no failures, uses reward_weighted."""
    is_on_policy: ClassVar[bool] = False
    """Whether only episodes of the policy that training starts from count: no expert's, and none of an earlier iteration."""
    uses_reference: ClassVar[bool] = False
    """Whether the loss needs the log-probabilities of the policy that training starts from."""
    uses_rewards: ClassVar[bool] = True
    """Whether the episodes' rewards weigh anything. Where a rule says False, parameters that define another reward are rejected instead of
    ignored, unless the filter uses them."""
    loss_aggregation: LossAggregation | None = None
    """How the losses of tokens are combined; None: as `finetune.loss_aggregation` says."""
    requirement: ClassVar[str] = ""
    """A requirement on the data, for the message if there is no term."""

    @abstractmethod
    def loss_terms(self, dataset: TokenizedDataset, usable: Sequence[bool]) -> list[LossTerm]:
        """The terms of the loss, in an order that depends on the dataset only.

        usable: for each episode, whether it is short enough to train on and has tokens in the loss. A term with an episode that is not
        usable, or with weight 0, is left out by the caller.
        """

    def counts(self, dataset: TokenizedDataset, terms: Sequence[LossTerm]) -> dict[str, int]:
        """Counts that the rule reports about the data, by name, e.g. the pairs that it found."""
        return {}

    def loss(self, batch: TermBatch, model: Any, device: torch.device) -> Tensor:
        """The sum of the batch's terms, in nats: a scalar, which the step divides by its trained tokens or by its mean number of terms.

        Here the sum over the policy's tokens of weight(term) * -log p(token). Other rules begin with `batch.logprobs(model, device)`.
        """
        return batch.weighted_nll(model, device)
