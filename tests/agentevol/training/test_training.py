"""A training in pieces, in several processes, killed and resumed, by adapters: it ends where the plain one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agentevol.data.dataset import write_dataset
from agentevol.models import load_model, model_digest
from agentevol.settings.schema import FinetuneParams
from agentevol.training.finetune import finetune
from agentevol.training.launch import LaunchFailed
from agentevol.training.launch import finetune as launched
from agentevol.training.tokenized_dataset import tokenize_dataset
from tests.agentevol.counting import play_counting
from tests.agentevol.training.test_finetune import EASY, HARD, Settings

SETTINGS = FinetuneParams(
    batch_tokens=512, learning_rate=3e-3, precision="float32", max_tokens=512, weight_decay=0.0, checkpoint_minutes=0.0
)
HOW = {"epochs": 6, "seed": 0, "rule": "reward_weighted"}
TWO_PROCESSES = "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nnum_machines: 1\nnum_processes: 2\nuse_cpu: true\n"
FSDP = TWO_PROCESSES.replace("MULTI_CPU", "FSDP")


@pytest.fixture
def data(tmp_path: Path, counting: str) -> Path:
    return write_dataset(tmp_path / "data", EASY + HARD, {}).path


def losses(report: dict[str, object]) -> list[float]:
    return [loss for _, loss in report["loss"]]


def test_pieces_learn_what_the_whole_step_does(small_models: dict[str, Path], tmp_path: Path) -> None:
    whole, pieces = (
        finetune(small_models["llama"], EASY + HARD, tmp_path / str(micro), settings=Settings(micro_tokens=micro), epochs=5, seed=0)
        for micro in (None, 200)
    )
    assert losses(pieces) == pytest.approx(losses(whole), rel=1e-4)
    for one, other in zip(*(load_model(tmp_path / name).parameters() for name in ("None", "200")), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


def test_tokens_are_made_once_and_made_again_when_damaged(small_models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    made = tokenize_dataset(data, small_models["llama"], tmp_path / "kept")
    (file,) = (tmp_path / "kept").iterdir()
    (data / "trajectories.parquet").rename(tmp_path / "away.parquet")
    assert tokenize_dataset(data, small_models["llama"], tmp_path / "kept") == made
    assert tokenize_dataset(EASY + HARD, small_models["llama"], tmp_path / "kept") == made
    (tmp_path / "away.parquet").rename(data / "trajectories.parquet")
    file.write_bytes(file.read_bytes()[:100])
    assert tokenize_dataset(data, small_models["llama"], tmp_path / "kept") == made
    assert tokenize_dataset(data, small_models["qwen"], tmp_path / "kept").key != made.key
    assert tokenize_dataset([*EASY, play_counting(4, ["5"], sample=1)], small_models["llama"]).key != made.key


def test_adapters_end_as_a_plain_model(small_models: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("peft")
    settings = replace(Settings(), lora_rank=4, learning_rate=1e-2)
    report = finetune(small_models["llama"], EASY + HARD, tmp_path, settings=settings, epochs=30, seed=0)
    assert losses(report)[-1] < 0.8 * losses(report)[0]
    before, after = (dict(load_model(folder).named_parameters()) for folder in (small_models["llama"], tmp_path))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("proj" in name for name in changed)


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_weights(small_models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    given = {"base": str(small_models["llama"]), "data": str(data), "work": str(tmp_path / "work"), "settings": SETTINGS.model_dump()}
    (tmp_path / "spec.json").write_text(json.dumps({**given, "out": str(tmp_path / "killed"), "how": {**HOW, "epochs": 20}}))
    command = [sys.executable, "-m", "agentevol.training.launch", str(tmp_path / "spec.json")]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )

    with start() as process:
        for line in process.stdout:
            if line.startswith("@step  20 "):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    (kept,) = [path for path in (tmp_path / "work" / "checkpoints").iterdir() if not path.name.startswith(".")]
    with start() as process:
        first = next(line for line in process.stdout if line.startswith("@step"))
        assert all(process.stdout)
    assert int(first.split()[1]) >= 20
    assert process.returncode == 0
    whole = finetune(small_models["llama"], data, tmp_path / "whole", settings=SETTINGS, work=tmp_path / "other", **{**HOW, "epochs": 20})
    assert model_digest(tmp_path / "killed") == model_digest(tmp_path / "whole")
    told = json.loads((tmp_path / "facts.json").read_text())
    assert told["loss"] == whole["loss"]
    assert told["checkpoint"] == str(kept), "to be removed by whoever keeps the model, and not before"
    assert kept.exists()


@pytest.mark.slow
def test_two_processes_learn_what_one_does(small_models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    alone = finetune(small_models["llama"], data, tmp_path / "one", settings=SETTINGS, **HOW)
    (tmp_path / "accelerate.yaml").write_text(TWO_PROCESSES)
    settings = SETTINGS.model_copy(update={"accelerate": str(tmp_path / "accelerate.yaml"), "micro_tokens": 100})
    seen: list[int] = []
    together = launched(
        small_models["llama"],
        data,
        tmp_path / "two",
        settings=settings,
        work=tmp_path / "work",
        progress=lambda step, *_: seen.append(step),
        **HOW,
    )
    assert together["processes"] == 2
    assert losses(together) == pytest.approx(losses(alone), rel=1e-3)
    assert seen == list(range(1, alone["steps"] + 1))
    for one, other in zip(*(load_model(tmp_path / name).parameters() for name in ("one", "two")), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-3)


@pytest.mark.slow
def test_what_went_wrong_in_a_process_is_told(small_models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    missing = SETTINGS.model_copy(update={"accelerate": str(tmp_path / "none.yaml")})
    with pytest.raises(LaunchFailed, match=r"no file .*none\.yaml"):
        launched(small_models["llama"], data, tmp_path / "out", settings=missing, work=tmp_path, **HOW)
    (tmp_path / "accelerate.yaml").write_text(FSDP)
    sharded = SETTINGS.model_copy(update={"accelerate": str(tmp_path / "accelerate.yaml")})
    with pytest.raises(LaunchFailed, match="shards on GPUs only"):
        launched(small_models["llama"], data, tmp_path / "out", settings=sharded, work=tmp_path, **HOW)
    (tmp_path / "accelerate.yaml").write_text(TWO_PROCESSES)
    short = SETTINGS.model_copy(update={"accelerate": str(tmp_path / "accelerate.yaml"), "max_tokens": 10})
    with pytest.raises(LaunchFailed, match="longer than 10 tokens"):
        launched(small_models["llama"], data, tmp_path / "out", settings=short, work=tmp_path / "work", **HOW)
