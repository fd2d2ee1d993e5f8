"""A learning rule of one's own: a class, and a line that names it. Trains the embedded base model with it for a few steps.

.venv/bin/python examples/own_rule.py
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentevol.data.experts import play_expert
from agentevol.settings.finetune import FinetuneParams
from agentevol.settings.rules import RULES
from agentevol.training.finetune import finetune
from agentevol.training.rules import LearningRule, LossTerm
from agentevol.training.tokenized_dataset import TokenizedDataset
from envs.registry import environment_class

BASE = Path(__file__).resolve().parents[1] / "models" / "base"


class ShortestSuccess(LearningRule):
    """The shortest success of every instruction, weighted by its reward."""

    def loss_terms(self, dataset: TokenizedDataset, usable: Sequence[bool]) -> list[LossTerm]:
        shortest: dict[str, int] = {}
        for index in sorted(range(len(dataset.examples)), key=lambda i: len(dataset.examples[i].token_ids)):
            if usable[index] and dataset.successes[index]:
                shortest.setdefault(dataset.item_ids[index], index)
        return [LossTerm((index,), dataset.rewards[index]) for index in sorted(shortest.values())]


RULES["shortest_success"] = f"{__name__}:ShortestSuccess"


def main(out: Path, instructions: int = 4, steps: int = 3) -> dict[str, Any]:
    """Trains on the expert's episodes; returns what the training reports."""
    train = environment_class("maze").instructions("train")[:instructions]
    episodes = [play_expert("maze", instruction) for instruction in train for _ in range(2)]  # each twice, as if sampled twice
    facts = finetune(BASE, episodes, out, settings=FinetuneParams(learning_rate=1e-4), seed=0, max_steps=steps, rule="shortest_success")
    print(f"{facts['sequences']} of {len(episodes)} episodes are in the loss; {facts['steps']} steps, last loss {facts['loss'][-1][1]}")
    return facts


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
