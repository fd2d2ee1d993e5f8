"""Runs the policy's SQL, read-only and within limits of time, rows and memory, and compares two results (execution accuracy).

Invariant: no statement changes the database, reaches a file or runs longer than its timeout. A statement gives rows or raises QueryError.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

TIMEOUT_SECONDS = 0.5
MAX_ROWS = 1000
_MAX_VALUE_BYTES = 100_000
_MAX_SQL_BYTES = 4_000
_ALLOWED_ACTIONS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_FORBIDDEN_FUNCTIONS = {"load_extension", "randomblob", "random", "fts3_tokenizer", "sqlite_version", "sqlite_source_id"}

Row = tuple[Any, ...]


class QueryError(ValueError):
    """The statement gives no rows: it is invalid, forbidden, or exceeds a limit. The policy reads the message."""


class ReadOnlyDatabase:
    """A private in-memory copy of a SQLite database that only answers SELECT."""

    def __init__(self, content: bytes) -> None:
        # Not bound to a thread: any thread may step the episode, one at a time.
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        self._connection.deserialize(content)
        self._connection.execute("PRAGMA query_only = ON")
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _MAX_SQL_BYTES)
        self._connection.set_authorizer(_authorize)
        self._deadline = 0.0
        self._connection.set_progress_handler(lambda: time.monotonic() > self._deadline, 1_000)

    def execute(self, sql: str, timeout: float = TIMEOUT_SECONDS) -> list[Row]:
        """The rows of one SELECT; `timeout` in seconds. Raises QueryError."""
        self._deadline = time.monotonic() + timeout
        try:
            cursor = self._connection.execute(sql)
            rows = cursor.fetchmany(MAX_ROWS + 1)
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
            raise QueryError(_error_text(error)) from None
        if cursor.description is None:
            raise QueryError("there is no query")
        if len(rows) > MAX_ROWS:
            raise QueryError(f"more than {MAX_ROWS} rows")
        return rows

    def close(self) -> None:
        self._connection.close()


def same_rows(rows: list[Row], expected: list[Row]) -> bool:
    """BIRD's execution accuracy: both results hold the same set of rows, in any order, repeated or not; numbers to six digits."""
    return {tuple(map(_canonical, row)) for row in rows} == {tuple(map(_canonical, row)) for row in expected}


def _canonical(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, int | float) and abs(value) < 1e15 else value


def _authorize(action: int, argument1: str | None, argument2: str | None, database: str | None, trigger: str | None) -> int:
    if action not in _ALLOWED_ACTIONS or (action == sqlite3.SQLITE_FUNCTION and (argument2 or "").lower() in _FORBIDDEN_FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _error_text(error: BaseException) -> str:
    text = str(error)
    if "interrupted" in text:
        return f"the query took more than {TIMEOUT_SECONDS} s"
    if "one statement" in text:
        return "one statement only"
    if "not authorized" in text or "prohibited" in text:
        return "only SELECT is allowed"
    return text or type(error).__name__
