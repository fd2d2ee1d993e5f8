"""Reward-weighted likelihood, the learning step of AgentEvol (the paper's Eq. 8): maximise E[r(e, u, τ) · log π(τ | e, u)]."""

from __future__ import annotations

from agentevol.training.micro_batch import WeightedExample
from agentevol.training.tokenized_dataset import TokenizedDataset


def reward_weighted(dataset: TokenizedDataset) -> list[WeightedExample]:
    """Each trajectory is weighted by its reward; trajectories without a positive reward are left out."""
    return [(example, reward) for example, reward in zip(dataset.examples, dataset.rewards, strict=True) if reward > 0]
