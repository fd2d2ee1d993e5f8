"""Reward-weighted likelihood, the learning step of AgentEvol (the paper's Eq. 8): maximise E[r(e, u, τ) · log π(τ | e, u)]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from agentevol.training.rules.learning_rule import LearningRule, LossTerm

if TYPE_CHECKING:
    from agentevol.training.tokenized_dataset import TokenizedDataset


class RewardWeighted(LearningRule):
    """Each trajectory is weighted by its reward; trajectories without a positive reward are left out and counted."""

    requirement: ClassVar[str] = "reward_weighted needs a trajectory with a reward above 0; see filter.reward and filter.objective"

    def loss_terms(self, dataset: TokenizedDataset, usable: Sequence[bool]) -> list[LossTerm]:
        return [LossTerm((index,), reward) for index, reward in enumerate(dataset.rewards) if reward > 0]

    def counts(self, dataset: TokenizedDataset, terms: Sequence[LossTerm]) -> dict[str, int]:
        without_reward = sum(reward <= 0 for reward in dataset.rewards)
        return {"without_reward": without_reward} if without_reward else {}
