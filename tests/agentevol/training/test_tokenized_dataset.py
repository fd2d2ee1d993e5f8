"""The cache of tokenised datasets."""

from __future__ import annotations

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
