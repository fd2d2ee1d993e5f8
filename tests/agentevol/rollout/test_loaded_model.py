"""The weights that a process keeps between rollouts: loaded once for a policy, never those of another, and gone when training starts."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from agentevol.data.trajectory import Trajectory
from agentevol.rollout.engines import loaded_model
from agentevol.rollout.engines.loaded_model import get_model, release_model
from agentevol.rollout.rollout import roll_out
from agentevol.rollout.sampling import Sampling
from tests.agentevol.counting import Counting, rollout_params

INSTRUCTIONS = Counting.instructions("explore")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The folders that were loaded, in order. Nothing is kept before and after."""
    found: list[Path] = []
    load_model = loaded_model.load_model

    def load(folder: Path, dtype: str) -> Any:
        found.append(folder)
        return load_model(folder, dtype)

    release_model()
    monkeypatch.setattr(loaded_model, "load_model", load)
    yield found
    release_model()


def play(folder: Path, chunk: int) -> list[Trajectory]:
    """One of two chunks of sampled episodes that share their prompt."""
    items = INSTRUCTIONS[4 * chunk : 4 * chunk + 4]
    episodes = roll_out(folder, items, sampling=Sampling(temperature=1.0), settings=rollout_params())
    return [replace(episode, seconds=0.0) for episode in episodes]


def test_a_policy_is_loaded_once_and_its_chunks_are_those_of_a_new_process(
    small_models: dict[str, Path], counting: str, loads: list[Path]
) -> None:
    warm = [play(small_models["llama"], chunk) for chunk in (0, 1, 0)]
    assert loads == [small_models["llama"]]
    release_model()
    cold = play(small_models["llama"], 1)
    assert len(loads) == 2
    assert warm[1] == cold
    assert warm[2] == warm[0]


def test_another_policy_replaces_the_kept_one(small_models: dict[str, Path], tmp_path: Path, counting: str, loads: list[Path]) -> None:
    folder = shutil.copytree(small_models["llama"], tmp_path / "policy")
    first = play(folder, 0)
    kept = weakref.ref(get_model(folder, "float32", CPU, keep=True)[0])
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor + 0.1 for name, tensor in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    second = play(folder, 0)
    assert loads == [folder, folder]
    assert kept() is None
    assert first[0].policy_hash != second[0].policy_hash
    assert [episode.token_ids for episode in first] != [episode.token_ids for episode in second]
    _, digest = get_model(folder, "bfloat16", CPU, keep=True)
    assert digest == second[0].policy_hash
    assert len(loads) == 3, "weights of another type are another model"


def test_what_is_too_large_beside_the_rest_is_not_kept(
    small_models: dict[str, Path], counting: str, loads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded_model, "MEMORY_SHARE", 0.0)
    for _ in range(2):
        play(small_models["llama"], 0)
    assert len(loads) == 2


def test_training_gets_the_memory(small_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agentevol.training import launch
    from tasks.artifact import Artifact
    from tasks.learn import finetune

    kept = weakref.ref(get_model(small_models["llama"], "float32", CPU, keep=True)[0])
    memory_is_free: list[bool] = []

    def train(*arguments: Any, **options: Any) -> None:
        memory_is_free.append(kept() is None)
        raise launch.LaunchFailed

    monkeypatch.setattr(launch, "finetune", train)
    nothing = Artifact(kind="model", path=str(tmp_path), digest="")
    assert kept() is not None
    with pytest.raises(launch.LaunchFailed):
        finetune.body(tmp_path, base=nothing, data=nothing, settings=None, seed=0, rule="", name="bc-base")
    assert memory_is_free == [True]
