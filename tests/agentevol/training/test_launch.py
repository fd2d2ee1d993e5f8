"""A training that was killed and resumed, or that runs in several processes, ends where the plain one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from agentevol.data.dataset import write_dataset
from agentevol.models import load_model, model_digest
from agentevol.training import launch
from agentevol.training.finetune import finetune
from agentevol.training.launch import LaunchFailed, ProcessLost
from agentevol.training.optimizer import Optimizer
from tests.agentevol.training.examples import TRAJECTORIES, TWO_PROCESSES, finetune_params, losses
from tests.processes import command_of

SETTINGS = finetune_params(batch_tokens=512, checkpoint_minutes=0.0)
OPTIONS: dict[str, Any] = {"epochs": 6, "seed": 0, "rule": "reward_weighted"}
TWO_MACHINES = TWO_PROCESSES.replace("num_machines: 1", "num_machines: 2")
FSDP = TWO_PROCESSES.replace("MULTI_CPU", "FSDP")


@pytest.fixture
def data(tmp_path: Path, counting: str) -> Path:
    return write_dataset(tmp_path / "data", TRAJECTORIES, {}).path


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_weights(small_models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    folders = {
        "base": str(small_models["llama"]),
        "data": str(data),
        "output_dir": str(tmp_path / "killed"),
        "work_dir": str(tmp_path / "work"),
    }
    options = {**OPTIONS, "epochs": 20}
    (tmp_path / "spec.json").write_text(json.dumps({**folders, "settings": SETTINGS.model_dump(), "options": options}))
    command = [sys.executable, "-m", "agentevol.training.launch", str(tmp_path / "spec.json")]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )

    with start() as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("@step  20 "):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    (checkpoint,) = [path for path in (tmp_path / "work" / "checkpoints").iterdir() if not path.name.startswith(".")]
    with start() as process:
        assert process.stdout is not None
        first = next(line for line in process.stdout if line.startswith("@step"))
        assert all(process.stdout)
    assert int(first.split()[1]) >= 20
    assert process.returncode == 0
    whole = finetune(small_models["llama"], data, tmp_path / "whole", settings=SETTINGS, work_dir=tmp_path / "other", **options)
    assert model_digest(tmp_path / "killed") == model_digest(tmp_path / "whole")
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["loss"] == whole["loss"]
    assert facts["checkpoint"] == str(checkpoint), "the caller removes it once it has stored the model"
    assert checkpoint.exists()


@pytest.mark.slow
def test_two_processes_train_as_one_does(small_models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    single = finetune(small_models["llama"], data, tmp_path / "one", settings=SETTINGS, **OPTIONS)
    (tmp_path / "accelerate.yaml").write_text(TWO_PROCESSES)
    settings = SETTINGS.model_copy(update={"accelerate_config": str(tmp_path / "accelerate.yaml"), "micro_batch_tokens": 100})
    steps: list[int] = []
    double = launch.finetune(
        small_models["llama"],
        data,
        tmp_path / "two",
        settings=settings,
        work_dir=tmp_path / "work",
        progress=lambda step, *_: steps.append(step),
        **OPTIONS,
    )
    assert double["processes"] == 2
    assert losses(double) == pytest.approx(losses(single), rel=1e-3)
    assert steps == list(range(1, single["steps"] + 1))
    for ours, expected in zip(*(load_model(tmp_path / name).parameters() for name in ("two", "one")), strict=True):
        torch.testing.assert_close(ours, expected, rtol=2e-2, atol=2e-3)


@pytest.mark.slow
def test_the_error_of_a_launched_process_is_reported(small_models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    config = tmp_path / "accelerate.yaml"

    def launched(config_file: Path, **changes: object) -> None:
        settings = SETTINGS.model_copy(update={"accelerate_config": str(config_file), **changes})
        launch.finetune(small_models["llama"], data, tmp_path / "out", settings=settings, work_dir=tmp_path / "work", **OPTIONS)

    with pytest.raises(LaunchFailed, match=r"no file .*none\.yaml"):
        launched(tmp_path / "none.yaml")
    config.write_text(FSDP)
    with pytest.raises(LaunchFailed, match="shards a model only on GPUs"):
        launched(config)
    with pytest.raises(LaunchFailed, match="lora_rank cannot be used with FSDP"):
        launched(config, lora_rank=4)
    config.write_text(TWO_PROCESSES)
    with pytest.raises(LaunchFailed, match="longer than 10 tokens"):
        launched(config, max_tokens=10)


@pytest.mark.slow
def test_a_killed_process_is_not_an_error_of_the_training(small_models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    (tmp_path / "accelerate.yaml").write_text(TWO_PROCESSES)
    settings = SETTINGS.model_copy(update={"accelerate_config": str(tmp_path / "accelerate.yaml")})

    def kill_one(step: int, *_: object) -> None:
        if step == 2:
            children = psutil.Process().children(recursive=True)
            next(child for child in children if "agentevol.training.launch" in command_of(child)[:5]).kill()

    options = {**OPTIONS, "epochs": 200}
    with pytest.raises(ProcessLost, match=r"one of its processes was killed \(-9\)"):
        launch.finetune(small_models["llama"], data, tmp_path, settings=settings, work_dir=tmp_path / "work", progress=kill_one, **options)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (FSDP, {"lora_rank": 4}, "lora_rank cannot be used with FSDP"),
        (FSDP, {"optimizer": "adamw_8bit"}, "optimizer adamw_8bit cannot be used with FSDP"),
        (FSDP, {}, "shards a model only on GPUs"),
        (FSDP.replace("use_cpu: true", "use_cpu: false"), {}, "fsdp_version must be 2"),
        (TWO_PROCESSES.replace("MULTI_CPU", "DEEPSPEED"), {}, "distributed_type DEEPSPEED is not supported; allowed: NO, MULTI_CPU"),
        (TWO_MACHINES, {}, r"num_machines is 2; allowed: 1, or .* \(cluster.address"),
        ("- a list\n", {}, "is not a configuration of accelerate"),
    ],
)
def test_what_cannot_work_is_named_before_anything_starts(config: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    from agentevol.settings.load import SettingsError
    from agentevol.settings.schema import Params
    from flows.check_parameters import check_parameters

    (tmp_path / "accelerate.yaml").write_text(config)
    settings = SETTINGS.model_copy(update={"accelerate_config": str(tmp_path / "accelerate.yaml"), **changes})
    with pytest.raises(LaunchFailed, match=message):
        launch.check_combinations(settings)
    with pytest.raises(SettingsError, match=message):
        check_parameters(Params().model_copy(update={"finetune": settings}))


@pytest.mark.parametrize(
    ("config", "cluster", "message"),
    [
        (TWO_MACHINES, {}, None),
        (TWO_MACHINES.replace("processes: 2", "processes: 3"), {}, "num_processes is 3; allowed: a multiple of num_machines, 2"),
        (TWO_MACHINES.replace("MULTI_CPU", "NO"), {}, "num_machines is 2, but distributed_type is NO; allowed: MULTI_CPU, MULTI_GPU, FSDP"),
        (TWO_MACHINES, {"finetune": False}, "num_machines is 2; allowed: 1, or the nodes of a cluster"),
        (TWO_MACHINES, {"folder": "/scratch"}, "accelerate_config cannot be used with cluster.folder"),
        (TWO_PROCESSES, {"folder": "/scratch"}, "accelerate_config cannot be used with cluster.folder"),
    ],
)
def test_several_machines_are_the_nodes_of_a_cluster_that_share_the_project(
    config: str, cluster: dict[str, Any], message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentevol.settings.cluster import ClusterParams
    from agentevol.settings.load import SettingsError
    from agentevol.settings.schema import Params
    from flows.check_parameters import check_parameters

    monkeypatch.setattr("flows.check_parameters.find_spec", lambda name: True)  # Ray
    (tmp_path / "accelerate.yaml").write_text(config)
    settings = SETTINGS.model_copy(update={"accelerate_config": str(tmp_path / "accelerate.yaml")})
    params = Params().model_copy(update={"finetune": settings, "cluster": ClusterParams(address="auto", **cluster)})
    with pytest.raises(SettingsError, match=message) if message else nullcontext():
        check_parameters(params)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("kind", ["MULTI_GPU", "FSDP"])
def test_two_gpus_train_as_one_does(kind: str, small_models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"precision": "float32"})
    single = finetune(small_models["llama"], data, tmp_path / "one", settings=settings, **OPTIONS)
    config = TWO_PROCESSES.replace("MULTI_CPU", kind).replace("use_cpu: true", "use_cpu: false")
    fsdp = "fsdp_config:\n  fsdp_version: 2\n  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP\n  fsdp_state_dict_type: FULL_STATE_DICT\n"
    (tmp_path / "accelerate.yaml").write_text(config + (fsdp if kind == "FSDP" else ""))
    settings = settings.model_copy(update={"accelerate_config": str(tmp_path / "accelerate.yaml"), "micro_batch_tokens": 100})
    double = launch.finetune(small_models["llama"], data, tmp_path / "two", settings=settings, work_dir=tmp_path / "work", **OPTIONS)
    assert double["processes"] == 2
    assert losses(double) == pytest.approx(losses(single), rel=1e-3)


def test_variables_of_another_launcher_are_ignored(
    small_models: dict[str, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Accelerate would wait for ever for the second of two processes."""
    expected = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "PMI_SIZE": "2"}
    for name, value in expected.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    facts = launch.finetune(small_models["llama"], data, tmp_path / "out", settings=SETTINGS, work_dir=tmp_path / "work", **OPTIONS)
    assert facts["processes"] == 1
    assert not expected.keys() & os.environ.keys()
    assert os.environ["ACCELERATE_USE_CPU"] == "true", "a choice of the device"
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("ignored "))
    assert line.startswith("ignored LOCAL_RANK, MASTER_ADDR, MASTER_PORT, PMI_SIZE, RANK, WORLD_SIZE: this process trains by itself")


def test_a_loss_is_not_divided_by_a_variable_of_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would weaken the clipping of gradients without a word."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    model = torch.nn.Linear(2, 1, bias=False)
    optimizer = Optimizer(model, precision="float32", weight_decay=0.0, max_grad_norm=100.0)
    gradients: list[torch.Tensor] = []
    optimizer.adamw.optimizer.register_step_pre_hook(lambda *_: gradients.append(model.weight.grad.clone()))
    batch: Any = SimpleNamespace(trained_tokens=1, loss_sum=lambda model, device: 3 * model.weight.sum())
    optimizer.step([batch], 1e-3)
    assert gradients[0].tolist() == [[3.0, 3.0]]


def test_processes_that_share_a_model_hold_no_whole_gradient_and_no_copy_of_all_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a synchronisation FSDP keeps the gradient of every weight whole; the cache of autocast keeps every gathered weight."""
    model = torch.nn.Linear(2, 1, bias=False)
    optimizer = Optimizer(model, precision="bfloat16", weight_decay=0.0, max_grad_norm=100.0, master_weights=False)
    monkeypatch.setattr(Optimizer, "is_sharded", True)
    monkeypatch.setattr(optimizer.accelerator, "no_sync", lambda model: pytest.fail("a micro-batch without a synchronisation"))
    caches: list[bool] = []

    def loss_sum(model: Any, device: torch.device) -> torch.Tensor:
        caches.append(torch.is_autocast_cache_enabled())
        return model(torch.ones(1, 2)).sum()

    batch: Any = SimpleNamespace(trained_tokens=1, loss_sum=loss_sum)
    optimizer.step([batch, batch], 1e-3)
    assert caches == [False, False]
