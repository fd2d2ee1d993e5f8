"""MLflow's database in a file: created completely or not at all.

Invariant: a process that is killed at any time leaves either no database or a complete one. A database with experiments or runs is never
moved or changed here.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentevol.data.artifact_folder import sync_path_to_disk
from tasks import paths
from tasks.progress import say

_SIDE_FILES = ("-journal", "-wal", "-shm")
_UNCHANGED_SECONDS = 10.0
"""A database that is still being created changes more often than this."""


def create(file: Path) -> None:
    """Create MLflow's database as a temporary file, then give it its name. Raises OSError, and errors of SQLite and MLflow."""
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine
    from sqlalchemy.event import listen
    from sqlalchemy.pool import NullPool

    say("creating MLflow's database, the first time only (about ten seconds)")
    _remove_leftovers(file)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    engine = create_engine(paths.sqlite_uri(temporary), poolclass=NullPool)
    listen(engine, "connect", _write_without_waiting)
    try:
        _initialize_tables(engine)  # type: ignore[no-untyped-call]
        engine.dispose()
        sync_path_to_disk(temporary)
        _publish(temporary, file)
    finally:
        _remove(temporary)


def set_unfinished_aside(file: Path, *, is_finished: Any) -> bool:
    """Rename a database whose creation was interrupted, by another program or by a former version, to `<name>.unfinished`.

    `is_finished()`: whether its schema is complete now. Returns whether the file was renamed. A file that another process is still
    completing is waited for.
    """
    if not _is_without_experiments(file):
        return False
    while time.time() - _last_change(file) < _UNCHANGED_SECONDS:
        time.sleep(0.5)
        if is_finished() or not _is_without_experiments(file):
            return False
    aside = file.with_name(f"{file.name}.unfinished")
    _remove(aside)
    for suffix in ("", *_SIDE_FILES):
        with contextlib.suppress(FileNotFoundError):
            file.with_name(file.name + suffix).rename(aside.with_name(aside.name + suffix))
    say(f"{file} is incomplete, because the process that created it was killed; it is now {aside.name}, and a new one is created")
    return True


def _is_without_experiments(file: Path) -> bool:
    """Whether this is MLflow's database before its last step, which adds the first experiment."""
    with _opened(file) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables & {"experiments", "_alembic_tmp_experiments"}:
            return False  # not even the first step, or not MLflow's
        used = [name for name in ("experiments", "_alembic_tmp_experiments", "runs") if name in tables]
        return not any(database.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in used)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(file, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def _last_change(file: Path) -> float:
    """The time of the last change of the database or of its journal."""
    times = []
    for suffix in ("", *_SIDE_FILES[:2]):
        with contextlib.suppress(FileNotFoundError):
            times.append(file.with_name(file.name + suffix).stat().st_mtime)
    return max(times, default=0.0)


def _write_without_waiting(connection: Any, _record: Any) -> None:
    """Of a temporary file that is synced once, at the end."""
    connection.execute("PRAGMA synchronous=OFF")


def _publish(temporary: Path, file: Path) -> None:
    try:
        os.link(temporary, file)  # unlike a rename, never replaces a database that another process has created meanwhile
    except FileExistsError:
        return
    except OSError:  # a file system without links
        temporary.replace(file)


def _remove_leftovers(file: Path) -> None:
    """Temporary files of killed processes. The caller holds the project's lock, so no living process of this project creates one."""
    for path in file.parent.glob(f".{file.name}.*.tmp*"):
        path.unlink(missing_ok=True)


def _remove(file: Path) -> None:
    for suffix in ("", *_SIDE_FILES):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
