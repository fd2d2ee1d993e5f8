"""The product's command line on the tiny project, in a process of its own: forked from one that has imported everything, or a new one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import flows.datasets
from envs import registry
from tasks.artifact import Artifact
from tasks.cached_task import CachedTask
from tasks.collect import collect
from tests import ROOT
from tests.flows.preloaded import TINY
from tests.flows.tiny import make_project
from tests.shared import build_once, copy_prefect_database

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One Prefect database for all processes of a worker."""
    return copy_prefect_database(tmp_path_factory.mktemp("prefect"))


@pytest.fixture(scope="session")
def finished_run(agentevol: Command, session_folder: Path) -> Path:
    """A project with a run of two iterations, made in an empty folder without any database. Only read it."""

    def run(folder: Path) -> None:
        done = agentevol(make_project(folder), "evolve", own_api=True, PREFECT_HOME=str(folder / ".prefect"))
        assert done.returncode == 0, done.stderr

    return build_once("finished-run", run)


@pytest.fixture(scope="session")
def agentevol(prefect_home: Path, request: pytest.FixtureRequest) -> Command:
    """`agentevol(folder, "evolve", "-S", "seed=1", KILL_AT="exploring")` in `folder`.

    The commands share one Prefect API and the imports of one process. With `own_api=True` a command is a new process and starts its own
    API, as for a user: that takes ten seconds more.
    """

    def run(folder: Path, *arguments: str, own_api: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        # Results are stored per project; only the database is shared.
        own = {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(prefect_home), "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(folder / ".prefect")}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DVC_", "MLFLOW_"))}
        env = {**inherited, **own, "OMP_NUM_THREADS": "1", **environment}
        if own_api:
            command = [sys.executable, "-m", TINY, *arguments]
        else:
            env = {"PREFECT_API_URL": request.getfixturevalue("prefect_url"), **env}
            command = request.getfixturevalue("preloaded").command(TINY, *arguments)
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture
def tiny_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny project; its tasks run in this process without a Prefect API, which takes seconds to start."""
    monkeypatch.setattr(CachedTask, "__call__", lambda self, *, label="", **inputs: Artifact(**self.compute(**inputs)))
    monkeypatch.setattr(flows.datasets, "collect", collect.fn)
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.tiny:Pushing")
    return make_project(project)
