"""Where results lie.

Invariant: the store, the data and MLflow's database belong to the project, not to the working directory. An experiment that DVC runs in a
temporary copy (`dvc exp run --queue`) shares them with all others: they are found from DVC_ROOT, which DVC sets.
"""

from __future__ import annotations

import os
from pathlib import Path

STORE = Path("runs") / "store"


def root() -> Path:
    """The project's own folder, absolute."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def store() -> Path:
    return root() / STORE


def resolve(path: str | Path) -> Path:
    """The place of a recorded path: absolute as it is, else from the project's root."""
    return root() / path


def record(path: Path) -> str:
    """How a place is written down: from the project's root where it lies below it, so that a project can be moved."""
    path = Path(path).resolve()
    return (path.relative_to(root()) if path.is_relative_to(root()) else path).as_posix()


def tracking_uri() -> str:
    """MLflow's database: what MLFLOW_TRACKING_URI says, else `mlflow.db` in the project's root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"


def artifact_root() -> str:
    """Where MLflow keeps the files of runs, as a URI."""
    return (root() / "mlruns").as_uri()
