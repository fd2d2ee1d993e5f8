"""Where results lie.

Invariant: the store and MLflow's database belong to the project, not to the working directory: an experiment that DVC runs in a temporary
copy (`dvc exp run --queue`) shares them with all others, because they are found from DVC_ROOT, which DVC sets.
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
    """The place of a recorded path: absolute as it is, below the store from the project's root, else from the working directory."""
    path = Path(path)
    if path.is_absolute():
        return path
    return root() / path if path.is_relative_to(STORE) else Path.cwd() / path


def tracking_uri() -> str:
    """MLflow's database: what MLFLOW_TRACKING_URI says, else `mlflow.db` in the project's root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"


def artifact_root() -> str:
    """Where MLflow keeps the files of runs, as a URI."""
    return (root() / "mlruns").as_uri()
