"""DVC: data/ matches the record in data.dvc, and the pipeline runs in a fresh clone of the repository."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from agentevol.data.artifact_folder import folder_digest
from agentevol.settings.schema import Params
from tasks.dvc_record import folder_md5, recorded_md5
from tests import ROOT
from tests.flows.preloaded import TINY, PreloadedProcess
from tests.flows.tiny import make_project
from tests.servers import ssh
from tests.shared import copy_mlflow_database, copy_prefect_database

Dvc = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.slow
def test_data_is_rebuilt_byte_for_byte(tmp_path: Path) -> None:
    from agentevol.data.experts import collect
    from agentevol.settings.load import load_params

    recorded = recorded_md5(ROOT / "data.dvc")
    assert recorded is not None, "data.dvc is missing: `make data` makes it"
    collect(tmp_path / "data", load_params(ROOT / "params.yaml").environments)
    assert folder_md5(tmp_path / "data") == recorded, "the environments or experts changed: `make data`, then commit data.dvc"


@pytest.fixture
def clone(tmp_path: Path, preloaded: PreloadedProcess, dvc: Dvc) -> Path:
    """A fresh repository with the product's dvc.yaml and the tiny project, whose `agentevol` knows the toy environment."""
    # A section that dvc.yaml names must be there.
    every = {"data": {"folder": "data"}, "engine": {"kind": "transformers"}, "agent": {"format": "react"}}
    every |= {"filter": {"keep": "success"}, "dpo": {"beta": 0.1}, "grpo": {"clip_range": 0.2}}
    evolve = {"iterations": 1, "samples": 1}
    project = make_project(tmp_path / "clone", evolve=evolve, explore={"temperature": 0.7}, **every)
    copy_prefect_database(project / ".prefect")
    copy_mlflow_database(project)
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    for stage in pipeline["stages"].values():  # the code is not copied: here it is no dependency
        stage["deps"] = [path for path in stage.get("deps", []) if path.startswith(("runs/", "models/"))]
    (project / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    (project / ".gitignore").write_text("/data\n/runs\n/.prefect\n/mlruns\nmlflow.db*\n")
    shutil.copy(ROOT / ".dvcignore", project)
    script = tmp_path / "bin" / "agentevol"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.join(preloaded.command(TINY))} "$@"\n')
    script.chmod(0o755)
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    dvc(project, "init", "-q")
    return project


def git(project: Path, *arguments: str) -> str:
    who = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    return subprocess.run(["git", *who, *arguments], cwd=project, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def dvc(preloaded: PreloadedProcess) -> Dvc:
    """`dvc(project, "repro")`. `stdout`: the queue's workers keep it open, so that reading it to its end would be to wait for them."""

    def run(project: Path, *arguments: str, stdout: int = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{project.parent / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"PATH": path, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "true", "OMP_NUM_THREADS": "1"}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DVC_", "MLFLOW_"))}
        own |= dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "tests")
        own |= dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "tests@localhost")
        command, env = preloaded.command("dvc", *arguments), {**inherited, **own, **environment}
        stderr = subprocess.PIPE if stdout == subprocess.PIPE else stdout
        return subprocess.run(command, cwd=project, env=env, stdout=stdout, stderr=stderr, text=True, timeout=600)

    return run


@pytest.mark.slow
def test_repro_does_the_main_job_once_and_then_only_what_changed(clone: Path, dvc: Dvc, prefect_url: str) -> None:
    done = dvc(clone, "repro", PREFECT_API_URL=prefect_url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (clone / "runs" / "latest" / "curve.png").is_file()
    assert "up to date" in dvc(clone, "repro").stdout
    assert "bc_base" in dvc(clone, "metrics", "show", "--json").stdout

    params = yaml.safe_load((clone / "params.yaml").read_text())
    params["evolve"]["samples"] = 2
    (clone / "params.yaml").write_text(yaml.safe_dump(params))
    status = yaml.safe_load(dvc(clone, "status", "--json").stdout)
    assert list(status) == ["evolve"]


@pytest.mark.slow
def test_queued_experiments_are_compared_and_shared_over_ssh(clone: Path, dvc: Dvc, tmp_path: Path) -> None:
    params = yaml.safe_load((clone / "params.yaml").read_text())
    params["finetune"]["epochs"] = 2
    (clone / "params.yaml").write_text(yaml.safe_dump(params))
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "The pipeline")
    queued = dvc(clone, "exp", "run", "--queue", "-S", "evolve.samples=1,2")
    names = re.findall(r"Queued experiment '(\S+)'", queued.stdout)
    assert len(names) == 2, queued.stdout + queued.stderr
    dvc(clone, "queue", "start", "-j", "2", stdout=subprocess.DEVNULL)
    status = wait_for_experiments(clone, names, dvc)
    assert status.count("Success") == 2, status + "".join(dvc(clone, "queue", "logs", name).stdout for name in names)

    shown = json.loads(dvc(clone, "exp", "show", "--json").stdout)
    assert {experiment["name"] for revision in shown for experiment in revision.get("experiments") or []} == set(names)
    difference = json.loads(dvc(clone, "metrics", "diff", *names, "--all", "--json").stdout)
    assert set(difference["runs/metrics.json"]) >= {"final.overall.success", "gain.overall.p_value"}
    dvc(clone, "plots", "diff", *names, "--out", str(tmp_path / "plots"))
    assert len(list((tmp_path / "plots").rglob("*curve.png"))) == 2
    client = MlflowClient(f"sqlite:///{clone / 'mlflow.db'}")  # they wrote into the project's database, not into their temporary copies'
    runs = client.search_runs([client.get_experiment_by_name("agentevol").experiment_id])
    assert {run.info.run_name for run in runs} == {"M1-K1-s0", "M1-K2-s0"}
    assert {run.data.tags["agentevol.dvc_experiment"] for run in runs} == set(names)
    assert (clone / "runs" / "store").is_dir()
    assert len(list((clone / "runs").glob("M1-K[12]-s0-*/run.json"))) == 2, "their reports, which protect their results"

    pytest.importorskip("dvc_ssh", reason="the extra ssh is not installed")
    if ssh.SSHD is None:
        pytest.skip("no sshd: `apt-get install openssh-server` brings it")
    dvc(clone, "exp", "apply", names[1])
    dvc(clone, "add", "data")
    with ssh.ssh_server(tmp_path) as server:
        for setting in (["add", "-d", "team", server.url(tmp_path / "remote")], ["modify", "--local", "team", "keyfile", str(server.key)]):
            assert dvc(clone, "remote", *setting).returncode == 0
        known = {"HOME": str(tmp_path)}  # where the client looks for the servers it knows
        (tmp_path / ".ssh").mkdir()
        shutil.copy(server.known_hosts, tmp_path / ".ssh" / "known_hosts")
        pushed = dvc(clone, "push", **known)
        assert pushed.returncode == 0, pushed.stderr
        git(clone, "add", "-A")
        git(clone, "commit", "-qm", "The better one")
        git(tmp_path, "clone", "-q", str(clone), "colleague")
        dvc(tmp_path / "colleague", "remote", "modify", "--local", "team", "keyfile", str(server.key))
        pulled = dvc(tmp_path / "colleague", "pull", **known)
        assert pulled.returncode == 0, pulled.stderr
    for folder in ("data", "runs/latest"):
        assert folder_digest(tmp_path / "colleague" / folder) == folder_digest(clone / folder)


def wait_for_experiments(project: Path, names: list[str], dvc: Dvc) -> str:
    """Wait until git has a reference for each experiment; returns the queue's status. DVC needs seconds to answer, so it is asked last, and
    twice a minute whether one has failed."""
    start = time.monotonic()
    while time.monotonic() - start < 600:
        for _ in range(60):
            references = git(project, "for-each-ref", "--format=%(refname)", "refs/exps").splitlines()
            if {reference.rpartition("/")[2] for reference in references} >= set(names):
                break
            time.sleep(0.5)
        status = dvc(project, "queue", "status").stdout
        if "Running" not in status and "Queued" not in status:
            return status
        time.sleep(0.5)
    raise TimeoutError(status)


def test_dvc_repro_notices_a_change_in_every_section_that_a_run_reads() -> None:
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["evolve"]
    assert set(stage["params"]) == set(Params.model_fields) - {"sweep", "pretrain", "store", "cluster"}
