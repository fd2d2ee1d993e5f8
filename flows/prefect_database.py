"""Prefect's database: the file `.prefect/prefect.db`, or the one that the user names in the environment, on PostgreSQL for example.

Invariant: one process of a project creates it at a time. While the file is being created, `prefect.db.unfinished` exists and names the
creating server. Prefect's migrations are not atomic, so a file with that mark is removed, unless flows or deployments are in it; any other
database is left to Prefect. The address of a database may contain a password: it is passed on in the environment only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sqlite3
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import psutil
from filelock import FileLock

from tasks import paths

CONNECTION_URL = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
"""Prefect's own variable for the database of its server."""
_FORMER_CONNECTION_URL = "PREFECT_API_DATABASE_CONNECTION_URL"
_CONNECTION_TIMEOUT = "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT"
_CONNECTION_SECONDS = 60.0
"""On a busy machine a connection can take longer than the five seconds that Prefect waits."""
_SIDE_FILES = ("", "-journal", "-wal", "-shm")
_END_SECONDS = 10.0


class DatabaseUnavailable(RuntimeError):
    """The database that the user names cannot be used; the message says why and what to do."""


class DatabaseCreation:
    """The first start of a server on the database of a Prefect home; nothing where the database is complete.

    begin(), then start the server, started(pid), and finish() once it answers; release() in any case.
    """

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.database = home / "prefect.db"
        self.named = named_database()
        name = f"-{hashlib.sha256(paths.without_password(self.named).encode()).hexdigest()[:8]}" if self.named else ""
        self.marker = home / f"made-by-prefect-{version('prefect')}{name}"
        self.unfinished = home / "prefect.db.unfinished"
        self.lock = FileLock(home / "first.lock")

    def begin(self) -> None:
        """Wait for other processes that create the same database. Removes what a killed one has left. Raises DatabaseUnavailable."""
        if self.named:
            _check_connection(self.named)
        if self._is_complete():
            return
        self.lock.acquire()
        if self._is_complete():
            self.lock.release()
            return
        if self.named:
            return
        if self.unfinished.exists() and not self._is_used():
            self._end_creating_server()
            for suffix in _SIDE_FILES:
                self.database.with_name(self.database.name + suffix).unlink(missing_ok=True)
        if not self.database.exists():
            self.unfinished.touch()

    def started(self, pid: int) -> None:
        if self.lock.is_locked and not self.named and self.unfinished.exists():
            self.unfinished.write_text(str(pid), encoding="ascii")

    def finish(self) -> None:
        if not self.lock.is_locked:
            return
        self.marker.touch()
        if not self.named:
            self.unfinished.unlink(missing_ok=True)
        self.lock.release()

    def release(self) -> None:
        self.lock.release()

    def _is_complete(self) -> bool:
        if self.named:
            return self.marker.exists()
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


def named_database() -> str | None:
    """The address in the environment, with the driver that Prefect needs; None if there is none: the database is a file of the project."""
    url = os.environ.get(CONNECTION_URL) or os.environ.get(_FORMER_CONNECTION_URL)
    if not url:
        return None
    scheme, separator, rest = url.partition("://")
    return f"{'postgresql+asyncpg' if scheme in ('postgresql', 'postgres') else scheme}{separator}{rest}"


def database_variables(home: Path) -> dict[str, str]:
    """The database's address for Prefect's server, where Prefect would not find it by itself: it builds the address of the file from the
    folder's name and escapes nothing."""
    if named := named_database():
        return {CONNECTION_URL: named, _CONNECTION_TIMEOUT: os.environ.get(_CONNECTION_TIMEOUT, str(_CONNECTION_SECONDS))}
    uri = paths.sqlite_uri(home / "prefect.db")
    if uri == f"sqlite:///{home / 'prefect.db'}":
        return {}
    return {CONNECTION_URL: uri.replace("sqlite:", "sqlite+aiosqlite:", 1)}


def _check_connection(url: str) -> None:
    """Raises DatabaseUnavailable if no connection can be opened; Prefect's server would end with a page of its log."""
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    async def connect() -> None:
        async with create_async_engine(url, poolclass=NullPool).connect():
            pass

    try:
        asyncio.run(asyncio.wait_for(connect(), _CONNECTION_SECONDS))
    except Exception as error:  # of SQLAlchemy, asyncpg or the network, which share no base class
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = f"no answer within {_CONNECTION_SECONDS:.0f} s" if isinstance(error, TimeoutError) else lines[0]
        raise DatabaseUnavailable(
            f"Prefect's database {paths.without_password(url)} ({CONNECTION_URL}) cannot be used: {reason}."
            " Check the variable, or unset it to use .prefect/prefect.db"
        ) from None
