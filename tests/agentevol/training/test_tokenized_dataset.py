"""The cache of tokenised datasets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agentevol.data.dataset import write_dataset
from agentevol.training.tokenized_dataset import tokenize_dataset
from tests.agentevol.counting import play_counting
from tests.agentevol.training.examples import EASY, TRAJECTORIES


@pytest.fixture
def data(tmp_path: Path, counting: str) -> Path:
    return write_dataset(tmp_path / "data", TRAJECTORIES, {}).path


def test_tokens_are_cached_and_written_again_when_damaged(small_models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    cache, model = tmp_path / "cache", small_models["llama"]
    dataset = tokenize_dataset(data, model, cache)
    (file,) = cache.iterdir()
    (data / "trajectories.parquet").rename(tmp_path / "moved.parquet")
    assert tokenize_dataset(data, model, cache) == dataset
    assert tokenize_dataset(TRAJECTORIES, model, cache) == dataset
    (tmp_path / "moved.parquet").rename(data / "trajectories.parquet")
    file.write_bytes(file.read_bytes()[:100])
    assert tokenize_dataset(data, model, cache) == dataset
    assert tokenize_dataset(data, small_models["qwen"], cache).key != dataset.key
    assert tokenize_dataset([*EASY, play_counting(4, ["5"], sample=1)], model).key != dataset.key


def test_an_objective_makes_the_rewards_and_a_cache_of_its_own(small_models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    cache, model = tmp_path / "cache", small_models["llama"]
    plain = tokenize_dataset(data, model, cache)
    shorter = tokenize_dataset(data, model, cache, objective={"success": 1.0, "rounds": -0.1})
    expected = [trajectory.success - 0.1 * trajectory.rounds for trajectory in TRAJECTORIES]
    assert shorter.rewards == pytest.approx(expected)
    assert (shorter.examples, shorter.item_ids) == (plain.examples, plain.item_ids)
    assert shorter.key != plain.key
    assert tokenize_dataset(data, model, cache) == plain


def test_training_without_an_objective_does_not_see_the_progress(small_models: dict[str, Path], counting: str) -> None:
    measured = [replace(trajectory, progress=0.5) for trajectory in TRAJECTORIES]
    plain, with_progress = (tokenize_dataset(rows, small_models["llama"]) for rows in (TRAJECTORIES, measured))
    assert replace(with_progress, key=plain.key) == plain
