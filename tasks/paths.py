"""Paths and locks of the project: the store, the data, MLflow's database.

Invariant: the store, the data and MLflow's database belong to the project, not to the working directory. An experiment that DVC runs in a
temporary copy (`dvc exp run --queue`) shares them with all others, through DVC_ROOT, which DVC sets.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

STORE = Path("runs") / "store"


def root() -> Path:
    """The project's root folder, absolute."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def store() -> Path:
    return root() / STORE


def lock(name: str) -> FileLock:
    """A lock between processes. The lock of a killed process is free."""
    folder = root() / "runs" / ".locks"  # outside the store, which holds results only
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock")


def resolve(path: str | Path) -> Path:
    """The absolute path of a recorded path, which may be relative to the project's root."""
    return root() / path


def record(path: Path) -> str:
    """The path as it is recorded: relative to the project's root if it is below it, so that a project can be moved."""
    path = Path(path).resolve()
    return (path.relative_to(root()) if path.is_relative_to(root()) else path).as_posix()


def tracking_uri() -> str:
    """MLflow's database or server: MLFLOW_TRACKING_URI if it is set, otherwise `mlflow.db` in the project's root.

    A postgresql:// address without a driver gets the driver of the extra `postgres` if SQLAlchemy's default driver is not installed.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"
    scheme, separator, rest = uri.partition("://")
    if scheme in ("postgresql", "postgres"):
        scheme = "postgresql+pg8000" if find_spec("pg8000") and not find_spec("psycopg2") else "postgresql"
    return f"{scheme}{separator}{rest}"


def artifact_root() -> str:
    """The folder in which MLflow stores the files of runs, as a URI."""
    return (root() / "mlruns").as_uri()
