"""The learning rules: the weight of every trajectory, and that the parameters allow exactly the rules that exist."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

from agentevol.settings.types import Rule
from agentevol.training.rules import RULES, weighted_examples
from agentevol.training.tokenized_dataset import tokenize_dataset
from tests.agentevol.counting import play_counting
from tests.agentevol.training.examples import EASY, HARD


def test_the_parameters_allow_exactly_the_rules_that_exist() -> None:
    assert set(RULES) == set(get_args(Rule))


def test_rewards_are_weights_and_failures_are_left_out(small_models: dict[str, Path], counting: str) -> None:
    half, failed = replace(EASY[0], reward=0.5), play_counting(4, ["9"] * 4)
    examples, _ = weighted_examples(tokenize_dataset([EASY[0], half, failed], small_models["llama"]), 512, "reward_weighted")
    assert [weight for _, weight in examples] == [1.0, 0.5]
    examples, _ = weighted_examples(tokenize_dataset([EASY[0], half], small_models["llama"]), 512, "threshold")
    assert [weight for _, weight in examples] == [1.0, 1.0]


def test_too_long_trajectories_are_named_and_those_without_a_loss_left_out(small_models: dict[str, Path], counting: str) -> None:
    dataset = tokenize_dataset([EASY[0], HARD[0], EASY[1]], small_models["llama"])
    dataset.examples[2].loss_mask = [0] * len(dataset.examples[2].token_ids)
    for rule in RULES:
        examples, too_long = weighted_examples(dataset, len(dataset.examples[0].token_ids), rule)
        assert examples == [(dataset.examples[0], 1.0)]
        assert too_long == [HARD[0].item_id]
