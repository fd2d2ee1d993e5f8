"""Expensive things that the tests build once per session and share, whichever worker process needs them first.

Invariant: what is shared is only read, or copied before it is changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from tests import ROOT

SESSION_FOLDER = "AGENTEVOL_TEST_SESSION"
"""The environment variable with the session's folder, which all worker processes have in common (set in tests/conftest.py)."""

PROGRAMS = ("sciworld", "webarena")
"""Environments that play in a program of their own (a JVM, a browser): what takes others a millisecond takes them up to a second."""


def build_once(name: str, build: Callable[[Path], None]) -> Path:
    """The session's folder `name`, made by the first process that asks for it; the others wait."""
    session = Path(os.environ[SESSION_FOLDER])
    folder, finished = session / name, session / f"{name}.finished"
    with FileLock(session / f"{name}.lock"):
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a build that failed
            folder.mkdir()
            build(folder)
            finished.touch()
    return folder


def copy_prefect_database(home: Path) -> Path:
    """Give a Prefect home a new database; making one takes ten seconds, copying it none."""
    return _copy(build_once("prefect-database", _make_prefect_database), home)


def copy_mlflow_database(project: Path) -> Path:
    """Give a project a new `mlflow.db`, as its first run would make it."""
    return _copy(build_once("mlflow-database", _make_mlflow_database), project)


def _copy(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target, dirs_exist_ok=True))


def _make_prefect_database(folder: Path) -> None:
    from flows.prefect_server import LocalServer

    server = LocalServer(folder)
    try:
        server.wait()
    finally:
        server.stop()
    for left in ("server.log", "first.lock"):
        (folder / left).unlink(missing_ok=True)


def _make_mlflow_database(folder: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_"))}
    command = [sys.executable, "-c", "from tasks.mlflow_store import connect; connect()"]
    subprocess.run(command, cwd=folder, env={**inherited, "PYTHONPATH": str(ROOT)}, check=True)
    shutil.rmtree(folder / "runs", ignore_errors=True)  # locks
