"""DVC's side: data/ is what data.dvc has on record, and the pipeline runs where nothing but the repository is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tasks.versions import folder_md5, recorded_md5
from tests.flows.tiny import make_project

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_data_is_rebuilt_byte_for_byte(tmp_path: Path) -> None:
    from agentevol.collect import collect
    from agentevol.params import load_params

    recorded = recorded_md5(ROOT / "data.dvc")
    assert recorded is not None, "data.dvc is missing: `make data` makes it"
    collect(tmp_path / "data", load_params(ROOT / "params.yaml").environments)
    assert folder_md5(tmp_path / "data") == recorded, "the environments or experts changed: `make data`, then commit data.dvc"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh repository with the product's dvc.yaml and the tiny project, whose `agentevol` knows the toy world."""
    every = {"data": {"folder": "data"}, "engine": {"kind": "transformers"}}  # a section that dvc.yaml names must be there
    project = make_project(tmp_path / "clone", evolve={"iterations": 1}, explore={"temperature": 0.7}, **every)
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    for stage in pipeline["stages"].values():  # the code is not copied: here it is no dependency
        stage["deps"] = [path for path in stage.get("deps", []) if path.startswith(("runs/", "models/"))]
    (project / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    (project / ".gitignore").write_text("/data\n/runs\n/.prefect\n/mlruns\nmlflow.db*\n")
    shutil.copy(ROOT / ".dvcignore", project)
    script = tmp_path / "bin" / "agentevol"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.flows.tiny "$@"\n')
    script.chmod(0o755)
    dvc(project, "init", "-q", git=True)
    return project


def dvc(project: Path, *arguments: str, git: bool = False) -> subprocess.CompletedProcess[str]:
    path = f"{project.parent / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"PATH": path, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "true", "OMP_NUM_THREADS": "1"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DVC_", "MLFLOW_"))}
    if git:
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=project, env={**inherited, **own}, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_repro_does_the_main_job_once_and_then_only_what_changed(clone: Path) -> None:
    done = dvc(clone, "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (clone / "runs" / "latest" / "curve.png").is_file()
    assert "up to date" in dvc(clone, "repro").stdout
    assert "bc_base" in dvc(clone, "metrics", "show", "--json").stdout

    params = yaml.safe_load((clone / "params.yaml").read_text())
    params["evolve"]["samples"] = 2
    (clone / "params.yaml").write_text(yaml.safe_dump(params))
    status = yaml.safe_load(dvc(clone, "status", "--json").stdout)
    assert list(status) == ["evolve"]
