"""Rules that compare episodes: their terms, and that loss and gradient are those of a plain implementation, packed or padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import logsigmoid

from agentevol.data.dataset import read_dataset, write_dataset
from agentevol.data.trajectory import TEXT_ONLY
from agentevol.models import load_model, model_digest
from agentevol.rollout.rollout import roll_out
from agentevol.rollout.sampling import Sampling
from agentevol.settings.effects import key_values
from agentevol.settings.finetune import LossAggregation
from agentevol.settings.rollout import RolloutParams
from agentevol.training import reference_logprobs as reference_module
from agentevol.training.finetune import NoTrainingData, finetune
from agentevol.training.optimizer import Optimizer
from agentevol.training.reference_logprobs import reference_logprobs
from agentevol.training.rules.dpo import DPO
from agentevol.training.rules.grpo import GRPO
from agentevol.training.term_batch import usable_terms
from agentevol.training.tokenized_dataset import tokenize_dataset
from tests.agentevol.counting import Counting, play_counting
from tests.agentevol.training.examples import finetune_params, losses
from tests.agentevol.training.gradients import check_gradient, plain_logprobs

WON, LATE = play_counting(4, ["5"]), play_counting(4, ["7", "5"], sample=1)
LOST, LOST_AGAIN = play_counting(4, ["x"] * 4, sample=2), play_counting(4, ["y", "x", "x", "x"], sample=3)
HARD_WON, HARD_LOST = play_counting(5, ["6", "7"]), play_counting(5, ["6", "6", "6", "6"], sample=1)
ROLLOUT = RolloutParams(concurrency=4, num_workers=1, max_new_tokens=12, context_length=512, max_repeats=None)
EPISODES = [WON, LATE, LOST, LOST_AGAIN, HARD_WON, HARD_LOST]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("length_normalized", [True, False])
def test_dpo_has_the_loss_and_gradient_of_a_plain_implementation(
    packed: bool, length_normalized: bool, small_models: dict[str, Path], counting: str
) -> None:
    def log_ratio(policy: Tensor, reference: Tensor) -> Tensor:
        difference = policy.sum() - reference.sum()
        return difference / len(policy) if length_normalized else difference

    def expected(policy: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
        total = torch.zeros(())
        for won, lost in ((0, 2), (1, 3), (4, 5)):
            margin = log_ratio(policy[won], reference[won]) - log_ratio(policy[lost], reference[lost])
            total = total - logsigmoid(0.2 * margin) - 0.5 * policy[won].mean()
        return total / 3

    dataset = tokenize_dataset(EPISODES, small_models["llama"])
    rule = DPO(0.2, 0.5, max_pairs_per_instruction=2, length_normalized=length_normalized)
    check_gradient(rule, dataset, small_models["llama"], packed, expected)


def test_pairs_are_of_one_instruction_and_use_as_many_episodes_as_possible(small_models: dict[str, Path], counting: str) -> None:
    dataset = tokenize_dataset([*EPISODES, play_counting(6, ["7"])], small_models["llama"])
    everything = [True] * len(dataset.examples)

    def pairs(limit: int | None, usable: list[bool] = everything) -> list[tuple[int, ...]]:
        return [term.episodes for term in DPO(max_pairs_per_instruction=limit).loss_terms(dataset, usable)]

    assert pairs(None) == [(0, 2), (1, 3), (0, 3), (1, 2), (4, 5)]
    assert pairs(2) == [(0, 2), (1, 3), (4, 5)]
    assert pairs(2, [True, False, True, True, True, True, True]) == [(0, 2), (0, 3), (4, 5)]
    assert DPO().counts(dataset, DPO().loss_terms(dataset, everything)) == {"pairs": 5, "instructions_without_pairs": 1}


def test_imported_conversations_with_the_same_number_are_no_pair(small_models: dict[str, Path], counting: str) -> None:
    """The first rows of two files have the same id, and nothing in common."""
    rows = [replace(episode, item_id="messages/1", env=TEXT_ONLY) for episode in (WON, LOST)]
    dataset = tokenize_dataset(rows, small_models["llama"])
    assert DPO().loss_terms(dataset, [True, True]) == []


def test_without_pairs_there_is_one_line_with_a_remedy(small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    with pytest.raises(NoTrainingData, match=r"none of the 2 trajectories can be trained on .*raise evolve\.samples"):
        finetune(small_models["llama"], [WON, HARD_LOST], tmp_path, settings=finetune_params(), max_steps=1, seed=0, rule="dpo")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_grpo_has_the_loss_and_gradient_of_a_plain_implementation(
    aggregation: LossAggregation, packed: bool, small_models: dict[str, Path], counting: str
) -> None:
    def expected(policy: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
        easy, hard = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([1.0, 0.0])
        advantages = [*((easy - easy.mean()) / easy.std(correction=0)), *((hard - hard.mean()) / hard.std(correction=0))]
        tokens = []
        for advantage, new, old in zip(advantages, policy, reference, strict=True):
            ratio = torch.exp(new - old)
            clipped = torch.where(ratio > 1.1, 1.1, torch.where(ratio < 0.9, 0.9, ratio))
            surrogate = torch.where(ratio * advantage < clipped * advantage, ratio * advantage, clipped * advantage)
            tokens.append(-surrogate + 0.3 * (1 / ratio + torch.log(ratio) - 1))
        assert any(bool((torch.exp(new - old) > 1.1).any()) for new, old in zip(policy, reference, strict=True))  # some are clipped
        return torch.cat(tokens).mean() if aggregation == "token_mean" else sum(part.mean() for part in tokens) / len(tokens)  # type: ignore[return-value]

    dataset = tokenize_dataset(EPISODES, small_models["llama"])
    rule = GRPO(clip_range=0.1, kl_coefficient=0.3, loss_aggregation=aggregation)
    check_gradient(rule, dataset, small_models["llama"], packed, expected, "token_mean")  # of the other rules: does not count here


def test_groups_without_variance_are_left_out_and_counted(small_models: dict[str, Path], counting: str) -> None:
    dataset = tokenize_dataset([*EPISODES, play_counting(6, ["7"]), play_counting(6, ["x", "7"], sample=1)], small_models["llama"])
    long = max(range(4), key=lambda i: len(dataset.examples[i].token_ids))
    terms, _ = usable_terms(GRPO(), dataset, len(dataset.examples[long].token_ids) - 1)
    weights = {term.episodes[0]: term.weight for term in terms}
    assert weights == {i: weight for i, weight in enumerate([1.0, 1.0, -1.0, -1.0, 1.0, -1.0]) if i in weights}
    assert long not in weights
    assert {4} <= set(weights)
    assert GRPO().counts(dataset, terms) == {"groups": 3, "groups_without_variance": 1}
    unscaled = GRPO(scale_rewards=False).loss_terms(dataset, [True] * 8)
    assert [term.weight for term in unscaled] == [0.5, 0.5, -0.5, -0.5, 0.5, -0.5, 0.0, 0.0]


def test_rewards_that_differ_by_rounding_are_equal(small_models: dict[str, Path], counting: str) -> None:
    """0.1 + 0.2 is more than 0.3 by a rounding error, which scaling would turn into an advantage of 1."""
    dataset = tokenize_dataset(
        [replace(WON, sample=n, reward=reward) for n, reward in enumerate((0.3, 0.1 + 0.2, 0.3))], small_models["llama"]
    )
    assert usable_terms(GRPO(), dataset, 512)[0] == []
    assert GRPO().counts(dataset, [])["groups_without_variance"] == 1


def test_log_probabilities_of_sampled_tokens_are_not_those_of_text_that_is_tokenized_again(
    small_models: dict[str, Path], counting: str
) -> None:
    recorded = replace(WON, token_ids=[1, 2, 3], loss_mask=[False, True, True], token_logprobs=[-0.5, -1.0])
    dataset = tokenize_dataset([recorded, replace(recorded, token_ids=None, loss_mask=None)], small_models["llama"])
    assert [list(values) for values in dataset.logprobs] == [[-0.5, -1.0], []]


def test_log_probabilities_recorded_while_playing_are_those_of_a_plain_forward_pass_and_are_not_evaluated_again(
    small_models: dict[str, Path], counting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = small_models["llama"]
    sampling = Sampling(temperature=0.7, top_p=0.95, seed=1, record_logprobs=True)
    instructions = Counting.instructions("train")[:2]
    episodes = roll_out(base, instructions, samples=3, sampling=sampling, settings=ROLLOUT)
    data = write_dataset(tmp_path / "data", episodes, {}, with_logprobs=True)
    assert read_dataset(data.path) == episodes
    dataset = tokenize_dataset(data.path, base, tmp_path / "tokens")
    with torch.no_grad():
        expected = plain_logprobs(load_model(base).eval(), dataset)
    for _ in range(2):  # also from the file of tokens
        for recorded, plain in zip(dataset.logprobs, expected, strict=True):
            torch.testing.assert_close(torch.tensor(recorded), plain, rtol=1e-4, atol=1e-4)
        dataset = tokenize_dataset(data.path, base, tmp_path / "tokens")

    def refuse(*_: object) -> Tensor:
        raise AssertionError("evaluated again")

    rewarded = [replace(episode, reward=float(episode.sample)) for episode in episodes]
    monkeypatch.setattr(Optimizer, "logprobs", refuse)
    settings, by_token = finetune_params(batch_tokens=100_000), {"loss_aggregation": "token_mean"}
    report = finetune(base, rewarded, tmp_path / "policy", settings=settings, max_steps=1, seed=0, rule="grpo", rule_options=by_token)
    # At the first step every ratio is 1, so the loss is minus the mean advantage of a token.
    lengths = [len(part) for part in expected]
    advantages = [(episode.reward - 1) / (2 / 3) ** 0.5 for episode in rewarded]
    weighed = sum(length * advantage for length, advantage in zip(lengths, advantages, strict=True))
    trained = sum(length for length, advantage in zip(lengths, advantages, strict=True) if advantage)
    assert losses(report)[0] == pytest.approx(-weighed / trained, abs=1e-3)


def test_recording_changes_neither_the_episodes_nor_the_digest_of_data_without_it(
    small_models: dict[str, Path], counting: str, tmp_path: Path
) -> None:
    instructions, sampling = Counting.instructions("train")[:2], Sampling(temperature=1.0)
    plain, recorded = (
        [replace(episode, seconds=0.0) for episode in roll_out(small_models["llama"], instructions, sampling=chosen, settings=ROLLOUT)]
        for chosen in (sampling, sampling.model_copy(update={"record_logprobs": True}))
    )
    assert all(episode.token_logprobs for episode in recorded)
    assert [replace(episode, token_logprobs=None) for episode in recorded] == plain
    without = write_dataset(tmp_path / "without", recorded, {})
    assert without.digest == write_dataset(tmp_path / "plain", plain, {}).digest
    assert without.digest != write_dataset(tmp_path / "with", recorded, {}, with_logprobs=True).digest
    assert (tmp_path / "without" / "trajectories.parquet").read_bytes() == (tmp_path / "plain" / "trajectories.parquet").read_bytes()
    assert key_values(sampling) == {"temperature": 1.0, "top_p": 1.0, "seed": 0, "iteration": 0}


class Killed(Exception):
    pass


def test_a_killed_dpo_ends_with_the_same_weights_and_evaluates_the_reference_once(
    small_models: dict[str, Path], counting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    evaluate = Optimizer.logprobs
    monkeypatch.setattr(Optimizer, "logprobs", lambda self, batch: (calls.append(1), evaluate(self, batch))[1])
    settings = finetune_params(batch_tokens=300, checkpoint_minutes=0.0)

    def train(name: str, stop_at: int | None = None) -> dict[str, Any]:
        def progress(step: int, steps: int, loss: float) -> None:
            if step == stop_at:
                raise Killed

        work_dir = tmp_path / ("work" if name != "alone" else "other")
        options: dict[str, Any] = {"settings": settings, "epochs": 3, "seed": 0, "rule": "dpo", "rule_options": {"beta": 0.3}}
        return finetune(small_models["llama"], EPISODES, tmp_path / name, work_dir=work_dir, progress=progress, **options)

    with pytest.raises(Killed):
        train("killed", stop_at=3)
    evaluated = len(calls)
    report = train("killed")
    assert len(calls) == evaluated > 0
    alone = train("alone")
    assert model_digest(tmp_path / "killed") == model_digest(tmp_path / "alone")
    assert losses(report) == losses(alone)
    assert report["rule_counts"] == {"pairs": 5, "instructions_without_pairs": 0}


def test_two_runs_may_evaluate_the_same_reference_at_the_same_time(
    small_models: dict[str, Path], counting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = tokenize_dataset(EPISODES, small_models["llama"])
    optimizer = Optimizer(load_model(small_models["llama"]), precision="float32", weight_decay=0.0, max_grad_norm=1.0)

    def evaluate() -> dict[int, Tensor]:
        return reference_logprobs(optimizer, dataset, [0, 1], pad_id=0, tokens=200, policy_digest="", cache_folder=tmp_path / "reference")

    def save(tensors: dict[str, Tensor], path: Path) -> None:
        save_file(tensors, path)
        monkeypatch.setattr(reference_module, "save_file", save_file)
        evaluate()  # the other run comes between writing and renaming

    monkeypatch.setattr(reference_module, "save_file", save)
    first = evaluate()
    (file,) = (tmp_path / "reference").iterdir()
    assert file.suffix == ".safetensors"
    assert all(torch.equal(first[index], values) for index, values in evaluate().items())


def test_episodes_that_are_too_long_are_in_no_pair(small_models: dict[str, Path], counting: str) -> None:
    long = replace(LATE, messages=[*LATE.messages, *LATE.messages])
    dataset = tokenize_dataset([long, WON, LOST], small_models["llama"])
    limit = len(dataset.examples[0].token_ids) - 1
    terms, too_long = usable_terms(DPO(), dataset, limit)
    assert [term.episodes for term in terms] == [(1, 2)]
    assert too_long == [long.item_id]
