"""Plain supervised fine-tuning on the trajectories that the reward filter kept: all of them count the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from agentevol.training.rules.learning_rule import LearningRule, LossTerm

if TYPE_CHECKING:
    from agentevol.training.tokenized_dataset import TokenizedDataset


class Threshold(LearningRule):
    """Each trajectory has the weight 1, whatever its reward."""

    uses_rewards: ClassVar[bool] = False

    def loss_terms(self, dataset: TokenizedDataset, usable: Sequence[bool]) -> list[LossTerm]:
        return [LossTerm((index,)) for index in range(len(dataset.examples))]
