"""Paths and locks of the project: the store, the data, MLflow's database.

Invariant: the store, the data and MLflow's database belong to the project, not to the working directory. An experiment that DVC runs in a
temporary copy (`dvc exp run --queue`) shares them with all others, through DVC_ROOT, which DVC sets.
"""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from filelock import FileLock

STORE = Path("runs") / "store"
_SQLITE = "sqlite:///"


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


def relative_to_working_directory(path: Path) -> Path:
    """An absolute path as messages show it: relative to the working directory if it is below it. Symbolic links stay as they are."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def tracking_uri() -> str:
    """MLflow's database or server: MLFLOW_TRACKING_URI if it is set, otherwise `mlflow.db` in the project's root.

    A postgresql:// address without a driver gets the driver of the extra `postgres` if SQLAlchemy's default driver is not installed.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or _own_database()
    scheme, separator, rest = uri.partition("://")
    if scheme in ("postgresql", "postgres"):
        scheme = "postgresql+pg8000" if find_spec("pg8000") and not find_spec("psycopg2") else "postgresql"
    return f"{scheme}{separator}{rest}"


def _own_database() -> str:
    uri = sqlite_uri(root() / "mlflow.db")
    # MLflow also creates the parent folder, under its escaped name; a relative address has none.
    return f"{_SQLITE}mlflow.db" if "%" in uri and root() == Path.cwd().resolve() else uri


def sqlite_uri(file: Path) -> str:
    """The address of a database file. Characters that have a meaning in an address are escaped: a folder may be named `a%20b` or `a?b`."""
    path = str(file)
    for character in "%?#":  # the percent sign first
        path = path.replace(character, f"%{ord(character):02X}")
    return f"{_SQLITE}{path}"


def sqlite_file(uri: str) -> Path | None:
    """The file of a database's address; None for a server or another kind of database."""
    return Path(unquote(uri.removeprefix(_SQLITE).partition("?")[0])) if uri.startswith(_SQLITE) else None


def without_password(uri: str) -> str:
    """The address of a database or server as messages show it. A password with a / or @ that should be escaped is hidden, too."""
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", uri)


def artifact_root() -> str:
    """The folder in which MLflow stores the files of runs, as a URI."""
    return (root() / "mlruns").as_uri()
