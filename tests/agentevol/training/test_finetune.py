"""Fine-tuning: what it trains on, what it leaves out, and that the same call gives the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from agentevol.chat.tokenize import ChatTokenizer
from agentevol.models import load_model, load_tokenizer, model_digest
from agentevol.rollout.rollout import roll_out
from agentevol.settings.rollout import RolloutParams
from agentevol.training.finetune import NoTrainingData, finetune
from agentevol.training.tokenized_dataset import tokenize_dataset
from tests.agentevol.counting import Counting
from tests.agentevol.training.examples import EASY, HARD, TRAJECTORIES, finetune_params, losses

ROLLOUT = RolloutParams(concurrency=5, num_workers=1, max_new_tokens=40, context_length=512, max_repeats=None)


@pytest.mark.parametrize("family", ["llama", "qwen"])
@pytest.mark.slow
def test_behavioural_cloning_teaches_the_experts_answers(family: str, small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    report = finetune(small_models[family], TRAJECTORIES, tmp_path, settings=finetune_params(), epochs=200, seed=0)
    assert losses(report)[-1] < 0.05 * losses(report)[0]
    instructions = [Counting.instruction(trajectory.item_id) for trajectory in TRAJECTORIES]
    episodes = roll_out(tmp_path, instructions, settings=ROLLOUT)
    assert sum(episode.success for episode in episodes) >= 7


def test_same_seed_same_weights_other_seed_other_weights(small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        finetune(small_models["llama"], TRAJECTORIES, tmp_path / name, settings=finetune_params(batch_tokens=256), epochs=2, seed=seed)
        digests.append(model_digest(tmp_path / name))
    assert digests[0] == digests[1] != digests[2]
    assert load_model(tmp_path / "a").config.vocab_size == load_model(small_models["llama"]).config.vocab_size


def test_max_steps_do_not_depend_on_the_amount_of_data(small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"settings": finetune_params(batch_tokens=256), "seed": 0}
    few, many = (finetune(small_models["llama"], data, tmp_path / str(len(data)), max_steps=7, **options) for data in (EASY, TRAJECTORIES))
    assert few["steps"] == many["steps"] == 7
    assert few["tokens"] > 2 * sum(len(example.token_ids) for example in tokenize_dataset(EASY, small_models["llama"]).examples)  # repeated
    assert many["tokens"] > few["tokens"] / 2
    for invalid in ({}, {"epochs": 1, "max_steps": 7}):
        with pytest.raises(ValueError, match="allowed: one of them"):
            finetune(small_models["llama"], EASY, tmp_path / "none", **options, **invalid)


def test_micro_batches_train_as_the_whole_step_does(small_models: dict[str, Path], tmp_path: Path) -> None:
    whole, split = (
        finetune(
            small_models["llama"],
            TRAJECTORIES,
            tmp_path / str(tokens),
            settings=finetune_params(micro_batch_tokens=tokens),
            epochs=5,
            seed=0,
        )
        for tokens in (None, 200)
    )
    assert losses(split) == pytest.approx(losses(whole), rel=1e-4)
    for ours, expected in zip(*(load_model(tmp_path / name).parameters() for name in ("200", "None")), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-2, atol=1e-3)


def test_too_long_trajectories_are_left_out_whole_and_named(small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    chat = ChatTokenizer(load_tokenizer(small_models["llama"]))
    longest = max(len(chat.tokenize_conversation(trajectory.messages).token_ids) for trajectory in EASY)
    report = finetune(small_models["llama"], TRAJECTORIES, tmp_path, settings=finetune_params(max_tokens=longest), epochs=1, seed=0)
    assert report["too_long"] == [trajectory.item_id for trajectory in HARD]
    assert report["sequences"] == len(EASY)
    with pytest.raises(NoTrainingData, match="longer than 10 tokens"):
        finetune(small_models["llama"], EASY, tmp_path, settings=finetune_params(max_tokens=10), epochs=1, seed=0)


def test_a_trajectory_longer_than_the_models_context_is_too_long(small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    lengths = sorted(len(example.token_ids) for example in tokenize_dataset(TRAJECTORIES, small_models["gpt2"]).examples)
    context, fitting = lengths[0], lengths.count(lengths[0])
    assert fitting < len(lengths)
    model = load_model(small_models["gpt2"])
    model.config.n_positions = context
    model.transformer.wpe = torch.nn.Embedding.from_pretrained(model.transformer.wpe.weight[:context].detach().clone())
    model.save_pretrained(tmp_path / "short")
    load_tokenizer(small_models["gpt2"]).save_pretrained(tmp_path / "short")
    report = finetune(tmp_path / "short", TRAJECTORIES, tmp_path / "out", settings=finetune_params(), epochs=1, seed=0)
    assert (report["max_tokens"], report["sequences"], len(report["too_long"])) == (context, fitting, len(lengths) - fitting)
