"""The sites' data: an in-memory SQLite database per episode, a copy of one that is filled from a seed.

Invariant: no episode sees another episode's changes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from threading import Lock

from envs.webarena.sites import initial_data

Row = tuple[str | int | float | None, ...]


class SiteDatabase:
    """One episode's database; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        with _copy_lock:
            _initial_database().backup(self._connection)

    def execute(self, sql: str, values: Sequence[str | int | float] = ()) -> list[Row]:
        """Execute a statement; its rows, if it is a query."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def first_row(self, sql: str, values: Sequence[str | int | float] = ()) -> Row | None:
        rows = self.execute(sql, values)
        return rows[0] if rows else None

    def close(self) -> None:
        with self._lock:
            self._connection.close()


_copy_lock = Lock()


@lru_cache(maxsize=1)
def _initial_database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    initial_data.fill(connection)
    connection.commit()
    return connection
