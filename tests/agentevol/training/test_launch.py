"""A training that was killed and resumed, or that runs in several processes, ends where the plain one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from agentevol.data.dataset import write_dataset
from agentevol.models import load_model, model_digest
from agentevol.training import launch
from agentevol.training.finetune import finetune
from agentevol.training.launch import LaunchFailed
from tests.agentevol.training.examples import TRAJECTORIES, finetune_params, losses

SETTINGS = finetune_params(batch_tokens=512, checkpoint_minutes=0.0)
OPTIONS: dict[str, Any] = {"epochs": 6, "seed": 0, "rule": "reward_weighted"}
TWO_PROCESSES = "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nnum_machines: 1\nnum_processes: 2\nuse_cpu: true\n"
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
