"""The base model's lessons: the answers are right, nothing of AgentEval is in them, and the same seed gives the same model."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agentevol.chat.tokenize import ChatTokenizer
from agentevol.models import load_model, load_tokenizer, model_digest
from agentevol.pretraining import documents, exercises, induction, problems, random_play, reading
from agentevol.pretraining.documents import encode_episode, window_reader
from agentevol.pretraining.pretrain import pretrain
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
    "reading_tokens": 4096,
    "batch_tokens": 1024,
    "num_workers": 0,
    "checkpoint_minutes": 1e-9,
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
    rng = random.Random(0)
    known = {text for name in ("babyai", "maze", "textcraft", "wordle") for text in problems.instruction_observations(name)}
    for _ in range(60):
        assert random_play.episode(rng)[0].content.partition("\n\n")[2] not in known


@pytest.mark.slow
def test_a_window_of_documents_does_not_depend_on_the_process_that_generates_it(tmp_path: Path) -> None:
    windows = []
    for num_workers in (0, 1):
        with window_reader(tmp_path / str(num_workers), BASE, seed=3, max_tokens=1000, num_workers=num_workers, size=10) as reader:
            windows.append([reader.read(number) for number in (0, 1)])
            reader.discard(0)
            assert not (tmp_path / str(num_workers) / "window-0.npz").exists()
    assert windows[0] == windows[1]
    assert windows[0][0] != windows[0][1]
    assert all(0 < sum(document.loss_mask) <= len(document.token_ids) <= 1000 for window in windows[0] for document in window)


@pytest.mark.slow
def test_the_same_settings_give_the_same_tiny_base_model_also_after_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One training at once, and one that is stopped in the lesson of copying and twice while reading."""
    monkeypatch.setattr(documents, "DOCUMENTS_PER_WINDOW", 12)
    settings = PretrainParams(**TINY | {"passes": 2, "reading_tokens": 8192})
    monkeypatch.setattr(reading, "_WINDOWS_BETWEEN_PASSES", 1)
    records = []
    for name, stops in (("a", ()), ("b", (2, 3, 4))):
        for stop in (*stops, None):
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            try:
                records.append(pretrain(folder, settings=settings, work_dir=tmp_path / f"work-{name}", progress=_stop_after(stop)))
            except KeyboardInterrupt:
                assert stop is not None
    assert len(records) == 2
    assert model_digest(tmp_path / "a") == model_digest(tmp_path / "b")
    assert records[0]["data_sha256"] == records[1]["data_sha256"]
    assert records[0]["reading"] == records[1]["reading"]
    assert records[0]["tokens"] >= settings.reading_tokens
    assert json.loads((tmp_path / "a" / "pretraining.json").read_text())["tokens"] == records[0]["tokens"]


def _stop_after(steps: int | None) -> Callable[[int, int, float], None]:
    """A progress callback that interrupts the training at its call number `steps`."""
    calls = itertools.count(1)

    def progress(done: int, total: int, loss: float) -> None:
        if next(calls) == steps:
            raise KeyboardInterrupt

    return progress


@pytest.mark.slow
def test_a_pretraining_can_continue_another_and_its_card_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "DOCUMENTS_PER_WINDOW", 12)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = pretrain(tmp_path / "first", settings=PretrainParams(**TINY), work_dir=tmp_path / "work-1")
    second = pretrain(tmp_path / "second", settings=PretrainParams(**TINY), work_dir=tmp_path / "work-2", start=tmp_path / "first")
    assert second["induction"] == []
    assert second["earlier"][0]["tokens"] == first["tokens"]
    assert model_digest(tmp_path / "first") != model_digest(tmp_path / "second")
    assert "It continues these" in (tmp_path / "second" / "README.md").read_text()
    assert "It continues these" not in (tmp_path / "first" / "README.md").read_text()


@pytest.mark.slow
def test_minutes_bound_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "DOCUMENTS_PER_WINDOW", 4)
    settings = PretrainParams(**TINY | {"reading_tokens": 10**9, "max_minutes": 1e-6})
    assert pretrain(tmp_path, settings=settings, work_dir=tmp_path / "work")["tokens"] <= 4 * TINY["batch_tokens"]


@pytest.mark.slow
def test_progress_reaches_its_total_with_the_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "DOCUMENTS_PER_WINDOW", 12)
    settings = PretrainParams(**TINY | {"reading_tokens": 8192, "passes": 2})
    shown: list[tuple[int, int]] = []
    pretrain(tmp_path, settings=settings, work_dir=tmp_path / "work", progress=lambda done, total, _: shown.append((done, total)))
    steps = settings.reading_tokens // settings.batch_tokens
    assert [done for done, total in shown if total == done == steps] == [steps]


def test_the_shipped_base_model_is_small_and_its_tokens_are_long() -> None:
    assert sum(file.stat().st_size for file in BASE.iterdir()) <= 16_000_000
    model, chat = load_model(BASE), ChatTokenizer(load_tokenizer(BASE))
    assert model.config.vocab_size >= len(chat.tokenizer)
    text = "Thought: I see grey key 1. É ☃\nAction: pickup grey key 1"
    assert chat.decode(chat.tokenize_answer(text)) == text
    messages = random_play.episode(random.Random(1))
    characters = sum(len(message.content) for message in messages)
    assert len(chat.tokenize_conversation(messages).token_ids) < characters / 4
    assert sum(encode_episode(chat, messages).loss_mask) > 0


def test_the_shipped_base_model_can_copy() -> None:
    """Random ids twice: the model predicts the second half from the first."""
    import torch

    rng = np.random.default_rng(5)
    ids = torch.tensor([[int(token) for token in rng.integers(8, 1000, size=48)]])
    with torch.inference_mode():
        predictions = load_model(BASE)(torch.cat([ids, ids], dim=1)).logits[0, 48:-1].argmax(-1)
    assert float((predictions == ids[0, 1:]).float().mean()) > 0.9
