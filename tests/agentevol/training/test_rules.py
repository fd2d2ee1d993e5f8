"""The learning rules: the weight of every trajectory, what is left out, and how a step's loss is put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agentevol.models import load_model
from agentevol.settings.rules import RULES
from agentevol.training.finetune import NoTrainingData, finetune
from agentevol.training.rules import LearningRule, LossTerm, load_rule
from agentevol.training.term_batch import usable_terms
from agentevol.training.tokenized_dataset import TokenizedDataset, tokenize_dataset
from tests.agentevol.counting import play_counting
from tests.agentevol.training.examples import EASY, HARD, TRAJECTORIES, finetune_params, losses
from tests.agentevol.training.gradients import check_gradient, plain_logprobs

WEIGHTED = [*EASY, *(replace(trajectory, reward=0.1) for trajectory in HARD)]


def test_rewards_are_weights_and_failures_are_left_out(small_models: dict[str, Path], counting: str) -> None:
    half, failed = replace(EASY[0], reward=0.5), play_counting(4, ["9"] * 4)
    terms, _ = usable_terms(load_rule("reward_weighted"), tokenize_dataset([EASY[0], half, failed], small_models["llama"]), 512)
    assert terms == [LossTerm((0,), 1.0), LossTerm((1,), 0.5)]
    terms, _ = usable_terms(load_rule("threshold"), tokenize_dataset([EASY[0], half], small_models["llama"]), 512)
    assert terms == [LossTerm((0,), 1.0), LossTerm((1,), 1.0)]


def test_trajectories_without_a_reward_are_counted_and_alone_have_a_remedy(
    small_models: dict[str, Path], counting: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"settings": finetune_params(), "epochs": 1, "seed": 0}
    long = replace(EASY[0], rounds=120)
    facts = finetune(small_models["llama"], [*EASY, long], tmp_path, objective={"success": 1, "rounds": -0.01}, **options)
    assert (facts["sequences"], facts["rule_counts"]) == (len(EASY), {"without_reward": 1})
    assert "rule_counts" not in finetune(small_models["llama"], [*EASY, long], tmp_path, **options), "the environment's own reward is 1"
    with pytest.raises(NoTrainingData, match=r"none of the 1 trajectories .*a reward above 0; see filter\.reward and filter\.objective"):
        finetune(small_models["llama"], [long], tmp_path, objective={"success": 1, "rounds": -0.01}, **options)


def test_too_long_trajectories_are_named_and_those_without_a_loss_left_out(small_models: dict[str, Path], counting: str) -> None:
    dataset = tokenize_dataset([EASY[0], HARD[0], EASY[1]], small_models["llama"])
    dataset.examples[2].loss_mask = [1] + [0] * (len(dataset.examples[2].token_ids) - 1)  # nothing predicts the first token
    for name in ("reward_weighted", "threshold"):
        terms, too_long = usable_terms(load_rule(name), dataset, len(dataset.examples[0].token_ids))
        assert terms == [LossTerm((0,), 1.0)]
        assert too_long == [HARD[0].item_id]


def plain_losses(model_folder: Path, dataset: TokenizedDataset) -> list[Tensor]:
    """The negative log-likelihoods of every trajectory's own tokens, from a plain forward pass of each trajectory alone."""
    with torch.no_grad():
        return [-logprobs for logprobs in plain_logprobs(load_model(model_folder).eval(), dataset)]


@pytest.mark.parametrize(("aggregation", "packed"), [("token_mean", True), ("sequence_mean", False)])
@pytest.mark.parametrize("name", ["reward_weighted", "threshold"])
def test_weighted_likelihood_has_the_loss_and_gradient_of_a_plain_implementation(
    name: str, aggregation: str, packed: bool, small_models: dict[str, Path], counting: str
) -> None:
    weights = [0.25, 1.0, 0.5, 0.1] if name == "reward_weighted" else [1.0] * 4

    def expected(policy: Sequence[Tensor], _: Sequence[Tensor]) -> Tensor:
        if aggregation == "sequence_mean":
            return torch.stack([-weight * part.mean() for weight, part in zip(weights, policy, strict=True)]).mean()
        return torch.cat([-weight * part for weight, part in zip(weights, policy, strict=True)]).mean()

    rewarded = [replace(row, reward=reward) for row, reward in zip([*EASY[:2], *HARD[:2]], (0.25, 1.0, 0.5, 0.1), strict=True)]
    dataset = tokenize_dataset(rewarded, small_models["llama"])
    check_gradient(load_rule(name), dataset, small_models["llama"], packed, expected, aggregation)


def first_loss(model_folder: Path, out: Path, **settings: object) -> float:
    return losses(finetune(model_folder, WEIGHTED, out, settings=finetune_params(**settings), max_steps=1, seed=0))[0]


@pytest.mark.parametrize("micro_batch_tokens", [None, 200])
def test_a_step_weighs_tokens_or_trajectories_alike(
    micro_batch_tokens: int | None, small_models: dict[str, Path], counting: str, tmp_path: Path
) -> None:
    base = small_models["llama"]
    dataset = tokenize_dataset(WEIGHTED, base)
    nll = plain_losses(base, dataset)
    options: dict[str, object] = {"batch_tokens": 100_000, "micro_batch_tokens": micro_batch_tokens}
    by_token = first_loss(base, tmp_path / "token", **options)
    weighted = [weight * part for weight, part in zip(dataset.rewards, nll, strict=True)]
    assert by_token == pytest.approx(float(torch.cat(weighted).mean()), rel=1e-4)
    by_sequence = first_loss(base, tmp_path / "sequence", loss_aggregation="sequence_mean", **options)
    assert by_sequence == pytest.approx(sum(float(part.mean()) for part in weighted) / len(nll), rel=1e-4)
    assert abs(by_token - by_sequence) > 0.1  # the rows of low weight are the longer ones


def test_all_trajectories_weigh_alike_also_where_steps_have_different_numbers_of_them(
    small_models: dict[str, Path], counting: str, tmp_path: Path
) -> None:
    """With a learning rate of almost 0, the losses of an epoch's steps sum up to the mean over trajectories times the number of steps."""
    base = small_models["llama"]
    settings = finetune_params(loss_aggregation="sequence_mean", batch_tokens=256, learning_rate=1e-12)
    report = finetune(base, TRAJECTORIES, tmp_path, settings=settings, epochs=1, seed=0)
    nll = plain_losses(base, tokenize_dataset(TRAJECTORIES, base))
    assert report["steps"] > 2
    assert sum(losses(report)) / report["steps"] == pytest.approx(sum(float(part.mean()) for part in nll) / len(nll), rel=1e-4)


class Shortest(LearningRule):
    """The shortest success of every instruction: a rule as a user adds it."""

    def loss_terms(self, dataset: TokenizedDataset, usable: Sequence[bool]) -> list[LossTerm]:
        best: dict[str, int] = {}
        for index, item_id in enumerate(dataset.item_ids):
            length = len(dataset.examples[index].token_ids)
            if usable[index] and (item_id not in best or length < len(dataset.examples[best[item_id]].token_ids)):
                best[item_id] = index
        return [LossTerm((index,)) for index in best.values()]


def test_a_rule_is_a_class_and_a_line(
    small_models: dict[str, Path], counting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, "shortest", f"{__name__}:Shortest")
    longer = play_counting(4, ["7", "5"], sample=1)
    report = finetune(small_models["llama"], [longer, *EASY], tmp_path, settings=finetune_params(), max_steps=1, seed=0, rule="shortest")
    assert report["sequences"] == len(EASY)
