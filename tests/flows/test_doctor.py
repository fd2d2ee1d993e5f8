"""`agentevol doctor`: it names what is missing, and shows the preflight of a model as a table."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from agentevol.rollout import paged_attention
from agentevol.training import gpu_attention
from envs.sciworld import jvm
from envs.webarena import browser
from flows.cli import doctor, doctor_model


def test_environments_without_java_or_a_browser_are_reported_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jvm, "_java", lambda: None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("AGENTEVOL_CHROMIUM", raising=False)
    if "playwright" not in str(browser.missing()):
        assert "Chromium" in str(browser.missing())
    found = {finding.name: finding for finding in doctor._environments()}
    assert set(found) == {"environments", "sciworld", "webarena"}
    assert "textcraft" in found["environments"].detail
    assert not {"sciworld", "webarena"} & set(found["environments"].detail.split(", "))
    assert "agentevol[sciworld]" in found["sciworld"].detail
    assert "install" in found["webarena"].detail


def test_a_gpu_without_a_kernel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Card")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(total_memory=80 * 2**30))
    monkeypatch.setattr(gpu_attention, "kernel_works", lambda *shape: True)
    monkeypatch.setattr(paged_attention, "kernel_works", lambda *shape: False)
    (finding,) = doctor._gpus()
    assert (finding.ok, finding.detail) == (False, "Card, 80 GiB; playing without PyTorch's attention kernel")
    monkeypatch.setattr(paged_attention, "kernel_works", lambda *shape: True)
    (finding,) = doctor._gpus()
    assert (finding.ok, finding.detail) == (True, "Card, 80 GiB")


def test_a_model_is_checked_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor_model.check_model("models/base", Path("params.yaml"))
    table = capsys.readouterr().out
    assert all(
        name in table for name in ("vocabulary", "end of an answer", "playing", "training", "memory", "learning rate", "training time")
    )
    assert not doctor_model.check_model(str(tmp_path), Path("params.yaml"))
    assert "config.json" in capsys.readouterr().out


def test_a_damaged_base_model_is_not_ok(tmp_path: Path) -> None:
    folder = shutil.copytree("models/base", tmp_path / "base")
    assert doctor._base_model(str(folder)).ok is True
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    finding = doctor._base_model(str(folder))
    assert finding.ok is False
    assert "model.safetensors is incomplete or damaged" in finding.detail


def test_data_that_does_not_exist_yet_is_no_problem_and_damaged_data_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    (tmp_path / "data" / "agenteval").mkdir(parents=True)
    (tmp_path / "data" / "agenteval" / "manifest.json").write_text("{}")
    data = [finding for finding in doctor._project(Path("params.yaml")) if finding.name == "data"]
    assert [finding.ok for finding in data] == [None, None, False, None]
    assert "agentevol collect" in data[0].detail
    assert "damaged" in data[2].remedy
