"""Where results lie.

Invariant: the store, the data and MLflow's database belong to the project, not to the working directory. An experiment that DVC runs in a
temporary copy (`dvc exp run --queue`) shares them with all others: they are found from DVC_ROOT, which DVC sets.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

STORE = Path("runs") / "store"


def root() -> Path:
    """The project's own folder, absolute."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def store() -> Path:
    return root() / STORE


def lock(name: str) -> FileLock:
    """Held by one process at a time; that of a process that was killed is free."""
    folder = root() / "runs" / ".locks"  # beside the store: what lies in that are results alone
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock")


def resolve(path: str | Path) -> Path:
    """The place of a recorded path: absolute as it is, else from the project's root."""
    return root() / path


def record(path: Path) -> str:
    """How a place is written down: from the project's root where it lies below it, so that a project can be moved."""
    path = Path(path).resolve()
    return (path.relative_to(root()) if path.is_relative_to(root()) else path).as_posix()


def tracking_uri() -> str:
    """MLflow's database or server: what MLFLOW_TRACKING_URI says, else `mlflow.db` in the project's root.

    A postgresql:// address that names no driver gets the one that the extra `postgres` installs, where SQLAlchemy's own choice is missing.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"
    scheme, separator, rest = uri.partition("://")
    if scheme in ("postgresql", "postgres"):
        scheme = "postgresql+pg8000" if find_spec("pg8000") and not find_spec("psycopg2") else "postgresql"
    return f"{scheme}{separator}{rest}"


def artifact_root() -> str:
    """Where MLflow keeps the files of runs, as a URI."""
    return (root() / "mlruns").as_uri()
