"""The base model's lessons: the answers are right, nothing of AgentEval is in them, and the same seed gives the same model."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest

import envs
from agentevol.chat.tokenize import ChatTokenizer
from agentevol.models import load_model, load_tokenizer, model_digest
from agentevol.pretraining import exercises, induction, random_play
from agentevol.pretraining.pretrain import encode_random_play, pretrain
from agentevol.settings.pretrain import PretrainParams
from agentevol.training.padding import IGNORE_INDEX
from tests import ROOT

BASE = ROOT / "models" / "base"
TINY = {
    "hidden_size": 64,
    "num_layers": 2,
    "num_heads": 1,
    "num_key_value_heads": 1,
    "induction_steps": 3,
    "induction_tokens": 96,
    "reading_steps": 3,
    "batch_tokens": 1024,
}


def test_induction_trains_only_on_repeated_pairs() -> None:
    rng = np.random.default_rng(0)
    for length, highs in itertools.product((24, 96), ([1000], [56, 264, 1000])):
        batch = induction.batch(rng, 16, length, 8, *highs)
        assert batch.ids.shape == (16, length)
        for ids, labels in zip(batch.ids.tolist(), batch.labels.tolist(), strict=True):
            for position, label in enumerate(labels):
                if label != IGNORE_INDEX:
                    assert (ids[position - 1], label) in set(itertools.pairwise(ids[:position]))


@pytest.mark.parametrize("kind", exercises.EXERCISES, ids=lambda kind: kind.__name__)
def test_the_same_seed_gives_the_same_exercise_and_every_turn_has_an_answer(kind: object) -> None:
    assert callable(kind)
    for seed in range(30):
        turns = kind(random.Random(seed))
        assert turns == kind(random.Random(seed))
        assert all(question.strip() and answer.strip() for question, answer in turns)
        assert not any("Action:" in text for turn in turns for text in turn)


def test_answers_about_words_are_correct() -> None:
    for seed in range(50):
        turns = exercises.spelling(random.Random(seed))
        words = turns[0][0].split("\n")[0].removeprefix("Words: ").split(", ")
        for text, answer in turns:
            question = text.split("\n")[-1]
            if " pattern " in question:
                pattern = question.rsplit("pattern ", 1)[1].split()
                matching = [w for w in words if all(p in ("_", letter) for p, letter in zip(pattern, w.split(), strict=True))]
                assert answer == matching[0]
            elif question.startswith("The first word that has"):
                assert answer == next(w for w in words if question.split()[-1] in w.split())


def test_answers_about_recipes_are_lines_of_the_list() -> None:
    for seed in range(50):
        turns = exercises.recipes(random.Random(seed))
        lines = turns[0][0].split("\n\n")[0].split("\n")[1:]
        for question, answer in turns:
            if question.split("\n")[-1].startswith("Which line"):
                assert answer in lines


@pytest.mark.slow
def test_random_play_meets_no_instruction() -> None:
    """The first observation of random play is that of no AgentEval instruction of the environment that is played."""
    rng = random.Random(0)
    openings = dict.fromkeys(envs.ENVIRONMENTS, "")
    for _ in range(60):
        opening = random_play.episode(rng)[0].content
        (name,) = (name for name in openings if opening.startswith(envs.environment_class(name).prompt))
        openings[name] += opening
    played = {name: text for name, text in openings.items() if text}
    assert len(played) == 4
    for name, text in played.items():
        env = envs.make(name)
        for instruction in env.instructions("eval"):
            assert env.reset(options={"item_id": instruction.item_id})[0] not in text


@pytest.mark.slow
def test_the_same_settings_give_the_same_tiny_base_model(tmp_path: Path) -> None:
    records = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        records.append(pretrain(tmp_path / name, settings=PretrainParams(**TINY)))
    assert model_digest(tmp_path / "a") == model_digest(tmp_path / "b")
    assert records[0]["data_sha256"] == records[1]["data_sha256"]
    assert len(records[0]["reading"]) == 3
    assert json.loads((tmp_path / "a" / "pretraining.json").read_text())["tokens"] == records[0]["tokens"]


def test_the_shipped_base_model_is_small_and_its_tokens_are_long() -> None:
    assert sum(file.stat().st_size for file in BASE.iterdir()) <= 16_000_000
    model, chat = load_model(BASE), ChatTokenizer(load_tokenizer(BASE))
    assert model.config.vocab_size >= len(chat.tokenizer)
    text = "Thought: I see grey key 1. É ☃\nAction: pickup grey key 1"
    assert chat.decode(chat.tokenize_answer(text)) == text
    messages = random_play.episode(random.Random(1))
    characters = sum(len(message.content) for message in messages)
    assert len(chat.tokenize_conversation(messages).token_ids) < characters / 4
    assert sum(encode_random_play(chat, messages).loss_mask) > 0


def test_the_shipped_base_model_can_copy() -> None:
    """Random ids twice: the model predicts the second half from the first."""
    import torch

    rng = np.random.default_rng(5)
    ids = torch.tensor([[int(token) for token in rng.integers(8, 1000, size=48)]])
    with torch.inference_mode():
        predictions = load_model(BASE)(torch.cat([ids, ids], dim=1)).logits[0, 48:-1].argmax(-1)
    assert float((predictions == ids[0, 1:]).float().mean()) > 0.9
