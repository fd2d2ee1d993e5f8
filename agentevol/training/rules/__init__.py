"""The learning rules: each decides how strongly every trajectory counts in the loss.

A rule is a function from a TokenizedDataset to weighted examples, in the dataset's order; trajectories that it leaves out are not trained
on. To add one, write a file with the function, add a line to RULES, and add its name to `Rule` in agentevol/settings/types.py.

Invariant: a rule weighs trajectories; it never changes their tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from agentevol.training.micro_batch import WeightedExample
from agentevol.training.rules.reward_weighted import reward_weighted
from agentevol.training.rules.threshold import threshold
from agentevol.training.tokenized_dataset import TokenizedDataset

LearningRule = Callable[[TokenizedDataset], list[WeightedExample]]

RULES: dict[str, LearningRule] = {
    "reward_weighted": reward_weighted,
    "threshold": threshold,
}


def weighted_examples(dataset: TokenizedDataset, max_tokens: int, rule: str) -> tuple[list[WeightedExample], list[str]]:
    """Apply a rule to the trajectories of at most `max_tokens` tokens.

    Returns its examples that have a weight other than 0 and at least one token in the loss, and the item ids of the trajectories that are
    too long. Raises KeyError for a rule that is not in RULES.
    """
    fitting = TokenizedDataset(dataset.key, [], [], [])
    too_long: list[str] = []
    for example, reward, item_id in zip(dataset.examples, dataset.rewards, dataset.item_ids, strict=True):
        if len(example.token_ids) > max_tokens:
            too_long.append(item_id)
        else:
            fitting.examples.append(example)
            fitting.rewards.append(reward)
            fitting.item_ids.append(item_id)
    return [(example, weight) for example, weight in RULES[rule](fitting) if weight and any(example.loss_mask)], too_long
