"""The base model's lessons: the answers are right, nothing of AgentEval is in them, and the same seed makes the same model."""

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
from agentevol.pretraining.pretrain import encode_play, pretrain
from agentevol.settings.pretrain import PretrainParams
from agentevol.training.optimizer import IGNORE_INDEX
from tests import ROOT

BASE = ROOT / "models" / "base"
TINY = {
    "hidden": 64,
    "layers": 2,
    "heads": 1,
    "key_value_heads": 1,
    "induction_steps": 3,
    "induction_tokens": 96,
    "reading_steps": 3,
    "batch_tokens": 1024,
}


def test_induction_learns_only_from_what_came_before() -> None:
    rng = np.random.default_rng(0)
    for length, highs in itertools.product((24, 96), ([1000], [56, 264, 1000])):
        batch = induction.batch(rng, 16, length, 8, *highs)
        assert batch.ids.shape == (16, length)
        for ids, labels in zip(batch.ids.tolist(), batch.labels.tolist(), strict=True):
            for place, label in enumerate(labels):
                if label != IGNORE_INDEX:
                    assert (ids[place - 1], label) in set(itertools.pairwise(ids[:place]))


@pytest.mark.parametrize("kind", exercises.ALL, ids=lambda kind: kind.__name__)
def test_exercises_are_the_same_from_the_same_seed_and_answer_every_turn(kind: object) -> None:
    assert callable(kind)
    for seed in range(30):
        turns = kind(random.Random(seed))
        assert turns == kind(random.Random(seed))
        assert all(asked.strip() and answer.strip() for asked, answer in turns)
        assert not any("Action:" in text for turn in turns for text in turn)


def test_answers_about_words_are_right() -> None:
    for seed in range(50):
        turns = exercises.spelling(random.Random(seed))
        words = turns[0][0].split("\n")[0].removeprefix("Words: ").split(", ")
        for asked, answer in turns:
            question = asked.split("\n")[-1]
            if " pattern " in question:
                pattern = question.rsplit("pattern ", 1)[1].split()
                fitting = [w for w in words if all(p in ("_", letter) for p, letter in zip(pattern, w.split(), strict=True))]
                assert answer == fitting[0]
            elif question.startswith("The first word that has"):
                assert answer == next(w for w in words if question.split()[-1] in w.split())


def test_answers_about_recipes_stand_in_the_list() -> None:
    for seed in range(50):
        turns = exercises.recipes(random.Random(seed))
        lines = turns[0][0].split("\n\n")[0].split("\n")[1:]
        for asked, answer in turns:
            if asked.split("\n")[-1].startswith("Which line"):
                assert answer in lines


def test_random_play_meets_no_instruction() -> None:
    """The player's worlds are its own: what it is told at the start is told in no AgentEval instruction."""
    evaluation = set()
    for name in envs.ENVIRONMENTS:
        if envs.environment_class(name).missing():
            continue
        world = envs.make(name)
        for instruction in envs.environment_class(name).instructions("eval"):
            evaluation.add(world.reset(options={"item_id": instruction.item_id})[0])
    rng = random.Random(0)
    for _ in range(60):
        opening = random_play.episode(rng)[0].content
        assert not any(text in opening for text in evaluation)


def test_a_tiny_base_model_comes_out_the_same_twice(tmp_path: Path) -> None:
    records = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        records.append(pretrain(tmp_path / name, settings=PretrainParams(**TINY)))
    assert model_digest(tmp_path / "a") == model_digest(tmp_path / "b")
    assert records[0]["data_sha256"] == records[1]["data_sha256"]
    assert len(records[0]["reading"]) == 3
    assert json.loads((tmp_path / "a" / "pretraining.json").read_text())["tokens"] == records[0]["tokens"]


def test_the_shipped_base_model_is_small_and_reads_worlds_in_few_tokens() -> None:
    assert sum(file.stat().st_size for file in BASE.iterdir()) <= 16_000_000
    model, chat = load_model(BASE), ChatTokenizer(load_tokenizer(BASE))
    assert model.config.vocab_size >= len(chat.tokenizer)
    text = "Thought: I see grey key 1. É ☃\nAction: pickup grey key 1"
    assert chat.decode(chat.tokenize_answer(text)) == text
    messages = random_play.episode(random.Random(1))
    characters = sum(len(message.content) for message in messages)
    assert len(chat.tokenize_conversation(messages).token_ids) < characters / 4
    assert sum(encode_play(chat, messages).loss_mask) > 0


def test_the_shipped_base_model_has_learnt_to_copy() -> None:
    """Random ids, then the same again: it says the second half from the first."""
    import torch

    rng = np.random.default_rng(5)
    ids = torch.tensor([[int(token) for token in rng.integers(8, 1000, size=48)]])
    with torch.inference_mode():
        guesses = load_model(BASE)(torch.cat([ids, ids], dim=1)).logits[0, 48:-1].argmax(-1)
    assert float((guesses == ids[0, 1:]).float().mean()) > 0.9
