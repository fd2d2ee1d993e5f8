"""Plain supervised fine-tuning on the trajectories that the reward filter kept: all of them count the same."""

from __future__ import annotations

from agentevol.training.micro_batch import WeightedExample
from agentevol.training.tokenized_dataset import TokenizedDataset


def threshold(dataset: TokenizedDataset) -> list[WeightedExample]:
    """Each trajectory has the weight 1, whatever its reward."""
    return [(example, 1.0) for example in dataset.examples]
