"""Prefect's database `.prefect/prefect.db`: created by one process at a time, and again if its creation was interrupted.

Invariant: while a database is being created, the file `prefect.db.unfinished` exists and names the creating server. Prefect's migrations
are not atomic, so a database with that file is removed, unless flows or deployments are in it; any other database is left to Prefect.
"""

from __future__ import annotations

import contextlib
import sqlite3
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import psutil
from filelock import FileLock

from tasks import paths

_SIDE_FILES = ("", "-journal", "-wal", "-shm")
_END_SECONDS = 10.0


class DatabaseCreation:
    """The first start of a server on the database of a Prefect home; nothing where the database is complete.

    begin(), then start the server, started(pid), and finish() once it answers; release() in any case.
    """

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.database = home / "prefect.db"
        self.marker = home / f"made-by-prefect-{version('prefect')}"
        self.unfinished = home / "prefect.db.unfinished"
        self.lock = FileLock(home / "first.lock")

    def begin(self) -> None:
        """Wait for other processes that create the same database. Removes what a killed one has left."""
        if self._is_complete():
            return
        self.lock.acquire()
        if self._is_complete():
            self.lock.release()
            return
        if self.unfinished.exists() and not self._is_used():
            self._end_creating_server()
            for suffix in _SIDE_FILES:
                self.database.with_name(self.database.name + suffix).unlink(missing_ok=True)
        if not self.database.exists():
            self.unfinished.touch()

    def started(self, pid: int) -> None:
        if self.lock.is_locked and self.unfinished.exists():
            self.unfinished.write_text(str(pid), encoding="ascii")

    def finish(self) -> None:
        if not self.lock.is_locked:
            return
        self.marker.touch()
        self.unfinished.unlink(missing_ok=True)
        self.lock.release()

    def release(self) -> None:
        self.lock.release()

    def _is_complete(self) -> bool:
        return self.marker.exists() and self.database.exists() and not self.unfinished.exists()

    def _is_used(self) -> bool:
        """Whether the server became ready after all, although the process that started it was killed."""
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"file:{quote(str(self.database))}?mode=ro", uri=True)) as database,
        ):
            return any(database.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in ("flow", "deployment", "work_pool"))
        return False

    def _end_creating_server(self) -> None:
        """A server outlives its killed parent by a few seconds, in which it would write to the new database."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int(self.unfinished.read_text(encoding="ascii")))
            if process.create_time() <= self.unfinished.stat().st_mtime + 1:  # otherwise another program has the number now
                process.kill()
                process.wait(timeout=_END_SECONDS)


def database_variables(home: Path) -> dict[str, str]:
    """Prefect builds the database's address from the folder's name and escapes nothing: give it the address where that matters."""
    uri = paths.sqlite_uri(home / "prefect.db")
    if uri == f"sqlite:///{home / 'prefect.db'}":
        return {}
    return {"PREFECT_SERVER_DATABASE_CONNECTION_URL": uri.replace("sqlite:", "sqlite+aiosqlite:", 1)}
