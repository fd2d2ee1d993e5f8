"""Running a stranger's SQL: nothing but reading, within limits of time, rows and memory.

Invariant: no statement changes the database, reaches a file or outlives its time; what a statement gives is rows or an Unanswerable.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

SECONDS = 0.5
ROWS = 1000
_LONGEST_VALUE = 100_000
_LONGEST_SQL = 4_000
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_FORBIDDEN_FUNCTIONS = {"load_extension", "randomblob", "random", "fts3_tokenizer", "sqlite_version", "sqlite_source_id"}

Row = tuple[Any, ...]


class Unanswerable(ValueError):
    """The statement gives no rows: it is wrong, forbidden, or asks for too much. The message is for whoever wrote it."""


class Database:
    """A private copy of a database in memory."""

    def __init__(self, content: bytes) -> None:
        # Not bound to a thread: whoever steps the episode uses it, one at a time.
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        self._connection.deserialize(content)
        self._connection.execute("PRAGMA query_only = ON")
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _LONGEST_SQL)
        self._connection.set_authorizer(_authorize)
        self._deadline = 0.0
        self._connection.set_progress_handler(lambda: time.monotonic() > self._deadline, 1_000)

    def rows(self, sql: str, seconds: float = SECONDS) -> list[Row]:
        """What a single SELECT gives. Raises Unanswerable."""
        self._deadline = time.monotonic() + seconds
        try:
            cursor = self._connection.execute(sql)
            rows = cursor.fetchmany(ROWS + 1)
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
            raise Unanswerable(_told(error, sql)) from None
        if cursor.description is None:
            raise Unanswerable("there is no query")
        if len(rows) > ROWS:
            raise Unanswerable(f"more than {ROWS} rows")
        return rows

    def close(self) -> None:
        self._connection.close()


def same_rows(one: list[Row], other: list[Row]) -> bool:
    """Whether two results hold the same rows, whatever their order and how often each occurs (BIRD's rule); numbers to six digits."""
    return {tuple(map(_canonical, row)) for row in one} == {tuple(map(_canonical, row)) for row in other}


def _canonical(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, int | float) and abs(value) < 1e15 else value


def _authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FORBIDDEN_FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _told(error: BaseException, sql: str) -> str:
    text = str(error)
    if "interrupted" in text:
        return f"the query took more than {SECONDS} s"
    if "one statement" in text:
        return "one statement only"
    if "not authorized" in text or "prohibited" in text:
        return "only SELECT is allowed"
    return text or type(error).__name__
