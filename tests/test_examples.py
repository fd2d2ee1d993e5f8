"""The examples work: the script learns, and the environment package installs, plays, passes its test and evolves."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from inspect import getsource
from pathlib import Path

import pytest

from agentevol.settings import rules
from tests import ROOT
from tests.shared import copy_mlflow_database, copy_prefect_database

LAMPS = ROOT / "examples" / "lamps"


@pytest.mark.slow
def test_the_script_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    before, after = import_module("learn_in_a_script").main(tmp_path)
    assert after > before
    assert (tmp_path / "policy" / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_rule_of_ones_own_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.setitem(rules.RULES, "shortest_success", "own_rule:ShortestSuccess")
    facts = import_module("own_rule").main(tmp_path, instructions=2, steps=2)
    assert (facts["sequences"], facts["steps"]) == (2, 2)
    guide = (ROOT / "docs" / "how-to" / "learning-rules.md").read_text(encoding="utf-8")
    assert getsource(import_module("own_rule").ShortestSuccess).strip() in guide


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The package as pip would install it: the module and its entry point in a folder of the path. Returns the environment variables."""
    site = tmp_path_factory.mktemp("site")
    (site / "agentevol_lamps").symlink_to(LAMPS / "agentevol_lamps")
    metadata = site / "agentevol_lamps-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: agentevol-lamps\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[agentevol.environments]\nlamps = agentevol_lamps:Lamps\n")
    declared = (LAMPS / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points."agentevol.environments"]\nlamps = "agentevol_lamps:Lamps"' in declared
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}


def run(arguments: list[str], cwd: Path, env: dict[str, str], **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=600, **more)  # type: ignore[call-overload,no-any-return]


@pytest.mark.slow
def test_the_environment_package_passes_its_own_test(installed: dict[str, str]) -> None:
    done = run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(LAMPS), "tests"], LAMPS, installed)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_person_can_play_it(installed: dict[str, str], tmp_path: Path) -> None:
    done = run(["-m", "flows.cli.main", "play", "lamps"], tmp_path, installed, input="!\n!\n!\n")
    assert done.returncode == 0, done.stderr
    assert "success: reward 1" in done.stdout


@pytest.mark.slow
def test_a_run_evolves_on_it(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base").symlink_to(ROOT / "models" / "base")
    command = ["-m", "flows.cli.main", "evolve", "--params", str(LAMPS / "params.yaml")]
    small = ["-S", "data.limits.train=4", "-S", "data.limits.explore=8", "-S", "data.limits.eval=4", "-S", "finetune.epochs=1"]
    copy_mlflow_database(tmp_path)
    copy_prefect_database(tmp_path / ".prefect")
    done = run([*command, *small], tmp_path, {**installed, "PREFECT_HOME": str(tmp_path / ".prefect")})
    assert done.returncode == 0, done.stderr
    assert "lamps" in done.stdout
