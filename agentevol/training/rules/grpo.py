"""GRPO: group-relative policy optimisation (arXiv 2402.03300) over the K episodes of an instruction.

The advantage of an episode is its reward minus the mean reward of its instruction's episodes, divided by their standard deviation (of the
population; `scale_rewards: false` leaves that out, as arXiv 2503.20783 does). All tokens of an episode share it. With π_old the policy that
played and ρ = π(token) / π_old(token), the loss of a token is

    -min(ρ · A, clip(ρ, 1 - ε, 1 + ε) · A) + κ · (1 / ρ + log ρ - 1)

where the last part estimates the KL divergence from π_old. Log-probabilities are the model's own, at temperature 1 and without top_p; so
with other sampling parameters the episodes are not quite those of the policy that is improved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agentevol.training.rules.learning_rule import LearningRule, LossTerm, TermBatch

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from agentevol.settings.finetune import LossAggregation
    from agentevol.training.tokenized_dataset import TokenizedDataset


@dataclass(frozen=True)
class GRPO(LearningRule):
    """Each term is an episode with its advantage as weight. `clip_range`, `kl_coefficient`: ε and κ above.

    Instructions whose episodes all have the same reward teach nothing and are left out. By default each episode counts the same, as in the
    paper (its Eq. 3): failures are longer than successes, so with `token_mean` the loss lowers the probability of the average token.
    """

    clip_range: float = 0.2
    kl_coefficient: float = 0.0
    scale_rewards: bool = True
    loss_aggregation: LossAggregation = "sequence_mean"

    compares_episodes: ClassVar[bool] = True
    is_on_policy: ClassVar[bool] = True
    uses_reference: ClassVar[bool] = True
    requirement: ClassVar[str] = (
        "grpo needs an instruction whose episodes have different rewards; raise evolve.samples or explore.temperature"
    )

    def loss_terms(self, dataset: TokenizedDataset, usable: Sequence[bool]) -> list[LossTerm]:
        """An episode that is too long counts in the mean of its instruction, although it is not trained on."""
        advantages = {item_id: _Advantage(rewards, self.scale_rewards) for item_id, rewards in _groups(dataset).items()}
        pairs = enumerate(zip(dataset.item_ids, dataset.rewards, strict=True))
        return [LossTerm((index,), advantages[item_id].of(reward)) for index, (item_id, reward) in pairs]

    def counts(self, dataset: TokenizedDataset, terms: Sequence[LossTerm]) -> dict[str, int]:
        groups = _groups(dataset).values()
        return {"groups": len(groups), "groups_without_variance": sum(not _has_variance(rewards) for rewards in groups)}

    def loss(self, batch: TermBatch, model: Any, device: torch.device) -> Tensor:
        logprobs = batch.logprobs(model, device)
        log_ratio = logprobs - batch.reference_logprobs(logprobs)
        ratio, advantages = log_ratio.exp(), batch.per_token([term.weight for term in batch.terms], logprobs)
        losses = -(ratio * advantages).minimum(ratio.clamp(1 - self.clip_range, 1 + self.clip_range) * advantages)
        if self.kl_coefficient:
            losses = losses + self.kl_coefficient * ((-log_ratio).exp() + log_ratio - 1)
        return batch.aggregate(losses)


class _Advantage:
    """How much better than its group an episode is."""

    def __init__(self, rewards: Sequence[float], scaled: bool) -> None:
        self.mean = sum(rewards) / len(rewards)
        self.has_variance = _has_variance(rewards)
        self.scale = (sum((reward - self.mean) ** 2 for reward in rewards) / len(rewards)) ** 0.5 if scaled else 1.0

    def of(self, reward: float) -> float:
        return (reward - self.mean) / self.scale if self.has_variance else 0.0


def _has_variance(rewards: Sequence[float]) -> bool:
    """Whether rewards differ by more than rounding, as sums of the same steps in another order do; scaling would make that an advantage."""
    return not math.isclose(min(rewards), max(rewards), rel_tol=1e-9, abs_tol=1e-9)


def _groups(dataset: TokenizedDataset) -> dict[str, list[float]]:
    """The rewards of every instruction's episodes."""
    groups: dict[str, list[float]] = {}
    for item_id, reward in zip(dataset.item_ids, dataset.rewards, strict=True):
        groups.setdefault(item_id, []).append(reward)
    return groups
