"""How many processes a rollout uses: the plan for CPUs and GPUs, what is refused, and a rollout on two invented GPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from agentevol import gpus
from agentevol.rollout import rollout
from agentevol.rollout.processes import ProcessPlan, UnsupportedEngines, check_num_engines, plan_processes, slots_per_engine
from agentevol.rollout.sampling import Sampling
from agentevol.rollout.workers import Progress, map_workers, shutdown_workers
from agentevol.settings.engines import EngineParams
from agentevol.settings.load import SettingsError
from agentevol.settings.schema import Params
from flows import check_parameters
from tests.agentevol.counting import Counting, rollout_params

EIGHT = tuple(str(index) for index in range(8))
VLLM = EngineParams(kind="vllm")
SPREAD = EngineParams(kind="vllm", options={"tensor_parallel_size": 2})
SERVER = EngineParams(kind="openai", url="http://127.0.0.1:1/v1")


@pytest.fixture(scope="module", autouse=True)
def no_workers_left() -> Iterator[None]:
    yield
    shutdown_workers()


@pytest.mark.parametrize(
    ("changes", "engine", "gpus", "episodes", "expected"),
    [
        ({"num_workers": 2}, None, (), 512, ProcessPlan(2)),
        ({"num_workers": 2}, None, (), 9, ProcessPlan(1)),
        ({"num_workers": 2}, VLLM, (), 512, ProcessPlan(1)),
        ({}, SERVER, (), 512, ProcessPlan(1)),
        ({}, None, ("0",), 512, ProcessPlan(1)),
        ({}, None, EIGHT, 512, ProcessPlan(8, EIGHT)),
        ({}, VLLM, EIGHT, 512, ProcessPlan(8, EIGHT)),
        ({"num_engines": 3}, None, ("GPU-a", "GPU-b", "GPU-c", "GPU-d"), 512, ProcessPlan(3, ("GPU-a", "GPU-b", "GPU-c"))),
        ({"num_engines": 1}, None, EIGHT, 512, ProcessPlan(1)),
        ({}, None, EIGHT, 20, ProcessPlan(2, ("0", "1"))),
        ({}, None, EIGHT, 3, ProcessPlan(1, ("0",))),
        ({"concurrency": 4}, None, EIGHT, 512, ProcessPlan(4, ("0", "1", "2", "3"))),
        ({}, SPREAD, EIGHT, 512, ProcessPlan(1)),
    ],
)
def test_there_is_an_engine_for_each_gpu_and_enough_work_for_each(
    changes: dict[str, Any], engine: EngineParams | None, gpus: tuple[str, ...], episodes: int, expected: ProcessPlan
) -> None:
    assert plan_processes(rollout_params(**{"concurrency": 64, **changes}), engine, gpus, episodes) == expected


@pytest.mark.parametrize(
    ("changes", "engine", "gpus", "expected"),
    [
        ({}, VLLM, EIGHT, [8, 8, 8, 8]),
        ({"num_engines": 3}, VLLM, EIGHT, [22, 22, 22, 22]),
        ({"concurrency": 4}, VLLM, EIGHT, [1, 1, 1, 1]),
        ({}, VLLM, ("0",), [64, 64, 64, 64]),
        ({}, SPREAD, EIGHT, [64, 64, 64, 64]),
        ({}, None, EIGHT, [8, 10, 32, 64]),
        ({"num_workers": 2}, None, (), [32, 32, 32, 64]),
    ],
)
def test_an_engine_of_vllm_has_the_same_slots_for_every_number_of_episodes(
    changes: dict[str, Any], engine: EngineParams | None, gpus: tuple[str, ...], expected: list[int]
) -> None:
    """With other slots it would be another engine, whose start takes a minute."""
    settings = rollout_params(**{"concurrency": 64, **changes})
    plans = [plan_processes(settings, engine, gpus, episodes) for episodes in (512, 60, 20, 3)]
    assert [slots_per_engine(settings, engine, gpus, plan) for plan in plans] == expected


@pytest.mark.parametrize(
    ("number", "engine", "gpus", "message"),
    [
        (2, None, (), r"num_engines 2: each engine needs a GPU, and this process sees 0; on a CPU rollout\.num_workers"),
        (9, None, EIGHT, r"num_engines 9: each engine needs a GPU, and this process sees 8; allowed: 1 to 8"),
        (2, SPREAD, EIGHT, r"num_engines 2 cannot be used with engine\.options that spread one engine over GPUs \(tensor_parallel_size"),
        (1, SERVER, EIGHT, r"num_engines 1 cannot be used with engine\.kind openai: the server decides; set it to null"),
    ],
)
def test_what_cannot_work_is_named_before_anything_starts(
    number: int, engine: EngineParams | None, gpus: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = rollout_params(num_engines=number)
    with pytest.raises(UnsupportedEngines, match=message):
        check_num_engines(settings, engine, gpus)
    monkeypatch.setattr(check_parameters, "visible_gpus", lambda: gpus)
    params = Params().model_copy(update={"rollout": settings, "engine": engine or EngineParams()})
    with pytest.raises(SettingsError, match=message):
        check_parameters.check_parameters(params)


def test_the_gpus_are_those_that_the_user_has_left_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus.visible_gpus() == ("0", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5ebe")
    assert gpus.visible_gpus() == ("3", "GPU-5ebe")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpus.visible_gpus() == ()


def seen_gpu(shard: int, report_progress: Progress) -> tuple[int, str, int]:
    return shard, os.environ["CUDA_VISIBLE_DEVICES"], os.getpid()


def test_each_process_sees_its_gpu_alone() -> None:
    first = map_workers(seen_gpu, [10, 11], None, [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in ("0", "GPU-b")])
    assert [(shard, gpu) for shard, gpu, _ in first] == [(10, "0"), (11, "GPU-b")]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    # A single shard too: its engine must not share the GPU with what a process of an earlier rollout keeps there.
    (alone,) = map_workers(seen_gpu, [12], None, [{"CUDA_VISIBLE_DEVICES": "0"}])
    assert alone == (12, "0", first[0][2])
    (replaced,) = map_workers(seen_gpu, [13], None, [{"CUDA_VISIBLE_DEVICES": "1"}])
    assert replaced[:2] == (13, "1")
    assert replaced[2] != alone[2]


@pytest.mark.slow
def test_two_engines_play_the_same_episodes_as_one(small_models: dict[str, Path], counting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On invented GPUs, where the engines of both processes fall back to the CPU."""
    work, sampling = [*Counting.instructions("explore"), *Counting.instructions("eval")], Sampling(temperature=1.0, seed=5)
    alone = rollout.roll_out(small_models["qwen"], work, samples=2, sampling=sampling, settings=rollout_params())
    monkeypatch.setattr(rollout, "visible_gpus", lambda: ("0", "1"))
    reports: list[tuple[int, int]] = []
    shared = rollout.roll_out(
        small_models["qwen"],
        work,
        samples=2,
        sampling=sampling,
        settings=rollout_params(concurrency=6),
        progress=lambda done, total: reports.append((done, total)),
    )
    expected = [(trajectory.item_id, trajectory.sample, trajectory.token_ids) for trajectory in alone]
    assert [(trajectory.item_id, trajectory.sample, trajectory.token_ids) for trajectory in shared] == expected
    assert reports[-1] == (24, 24)
    monkeypatch.setattr(rollout, "visible_gpus", lambda: ("0",))
    with pytest.raises(UnsupportedEngines, match="this process sees 1"):
        rollout.roll_out(small_models["qwen"], work, settings=rollout_params(num_engines=2))
