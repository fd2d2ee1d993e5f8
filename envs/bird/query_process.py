"""The process that runs the policy's SQL: `python query_process.py` reads requests from its standard input and writes a reply to each.

Invariant: no statement changes the database or reaches a file, and none outlives its limits. A statement that SQLite cannot interrupt in
time (one function call may take minutes) ends the process, by SIGALRM; a statement that needs too much memory gets an error (RLIMIT_AS).
The rows of a statement depend on the database alone: SQLite's clock stands at NOW, the time zone is UTC.

A request is a line of JSON, `{"database": key, "size": bytes, "sql": text, "timeout": seconds}`, followed by `size` bytes of a SQLite file
if `size` is not 0. The reply is a line of JSON: `{"rows": [...]}`, `{"error": text}`, or `{"unknown": true}` if a database of that key has
not been sent or is not kept any more. A BLOB is written as `{"blob": hexadecimal}`. Only the standard library is imported.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import time
from collections import OrderedDict
from functools import lru_cache
from typing import Any, BinaryIO

NOW = "2025-01-01 00:00:00"
"""What `now` and CURRENT_TIMESTAMP mean. Queries of the real BIRD compute ages with them, so they are not forbidden."""
MAX_ROWS = 1000
MAX_RESULT_BYTES = 10_000_000
GRACE_SECONDS = 0.5
"""The time after the timeout that a statement has to notice it, before the process ends."""
_MAX_VALUE_BYTES = 100_000
_MAX_SQL_BYTES = 4_000
_MEMORY_BYTES = 512 * 2**20
"""The address space of the process, without the databases."""
_KEPT_DATABASES_BYTES = 64 * 2**20
_ALLOWED_ACTIONS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_FORBIDDEN_FUNCTIONS = {"load_extension", "randomblob", "random", "fts3_tokenizer", "sqlite_version", "sqlite_source_id", "fts5_source_id"}
_FORBIDDEN_FUNCTIONS |= {"sqlite_compileoption_get", "sqlite_compileoption_used"}
_TIME_ARGUMENTS = {"date": (0,), "time": (0,), "datetime": (0,), "julianday": (0,), "unixepoch": (0,), "strftime": (1,), "timediff": (0, 1)}
"""SQLite's functions that read the clock, with the positions of the arguments that may be a time."""


class _Database:
    """A read-only in-memory copy of a SQLite file."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._connection = sqlite3.connect(":memory:")
        self._connection.deserialize(content)
        self._connection.execute("PRAGMA temp_store = MEMORY")
        self._connection.execute("PRAGMA query_only = ON")
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _MAX_SQL_BYTES)
        _stop_clock(self._connection)
        self._connection.set_authorizer(_authorize)
        self._deadline = 0.0
        self._connection.set_progress_handler(lambda: time.monotonic() > self._deadline, 1_000)

    def execute(self, sql: str, timeout: float) -> dict[str, Any]:
        """The reply to a request."""
        self._deadline = time.monotonic() + timeout
        cursor = None
        try:
            cursor = self._connection.execute(sql)
            if cursor.description is None:
                return {"error": "there is no query"}
            rows, size = [], 0
            for row in cursor:
                rows.append(row)
                size += sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
                if len(rows) > MAX_ROWS:
                    return {"error": f"more than {MAX_ROWS} rows"}
                if size > MAX_RESULT_BYTES:
                    return {"error": f"more than {MAX_RESULT_BYTES // 1_000_000} MB of values"}
                if time.monotonic() > self._deadline:
                    return {"error": "interrupted"}
            return {"rows": rows}
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            return {"error": str(error) or type(error).__name__}
        except MemoryError:
            return {"error": "the query takes too much memory"}
        finally:
            if cursor is not None:
                cursor.close()

    def close(self) -> None:
        self._connection.close()


def _stop_clock(connection: sqlite3.Connection) -> None:
    """Replace the functions that read the clock by ones that take NOW for the present time."""
    calculator = sqlite3.connect(":memory:")
    calculator.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
    for name, positions in _TIME_ARGUMENTS.items():
        try:
            calculator.execute(f"SELECT {name}(NULL, NULL)")
        except sqlite3.OperationalError:  # this SQLite is too old to have it
            continue
        connection.create_function(name, -1, _date_function(calculator, name, positions), deterministic=True)
    for name, value in (("current_timestamp", NOW), ("current_date", NOW[:10]), ("current_time", NOW[11:])):
        connection.create_function(name, 0, lambda value=value: value, deterministic=True)


def _date_function(calculator: sqlite3.Connection, name: str, positions: tuple[int, ...]) -> Any:
    def compute(*arguments: Any) -> Any:
        values = list(arguments)
        for position in positions:
            value = values[position] if position < len(values) else None
            text = value.decode(errors="replace").lower() if isinstance(value, bytes) else str(value).lower()
            if position == len(values) or text in ("subsec", "subsecond"):  # without a time it is the present one
                values.insert(position, NOW)
            elif text == "now":
                values[position] = NOW
        return calculator.execute(f"SELECT {name}({', '.join('?' * len(values))})", values).fetchone()[0]

    cached = lru_cache(maxsize=4096, typed=True)(compute)

    def call(*arguments: Any) -> Any:
        # Long texts are not kept: they would take the memory of later queries.
        for value in arguments:
            if isinstance(value, (str, bytes)) and len(value) > 100:
                return compute(*arguments)
        return cached(*arguments)

    return call


def _authorize(action: int, argument1: str | None, argument2: str | None, database: str | None, trigger: str | None) -> int:
    if action not in _ALLOWED_ACTIONS or (action == sqlite3.SQLITE_FUNCTION and (argument2 or "").lower() in _FORBIDDEN_FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _limit_memory(databases: OrderedDict[str, _Database], more: int) -> None:
    try:
        import resource
    except ImportError:  # no Unix
        return
    held = sum(database.size for database in databases.values())
    _, highest = resource.getrlimit(resource.RLIMIT_AS)
    limit = _MEMORY_BYTES + 2 * (held + more)  # twice: the bytes received and SQLite's copy
    resource.setrlimit(resource.RLIMIT_AS, (limit if highest == resource.RLIM_INFINITY else min(limit, highest), highest))


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    databases: OrderedDict[str, _Database] = OrderedDict()
    while line := requests.readline():
        request = json.loads(line)
        key, size = request["database"], request["size"]
        if size:
            while databases and sum(database.size for database in databases.values()) + size > _KEPT_DATABASES_BYTES:
                databases.popitem(last=False)[1].close()
            _limit_memory(databases, size)
            databases[key] = _Database(requests.read(size))
        if key in databases:
            databases.move_to_end(key)
            signal.setitimer(signal.ITIMER_REAL, request["timeout"] + GRACE_SECONDS)
            try:
                reply = json.dumps(databases[key].execute(request["sql"], request["timeout"]), default=lambda blob: {"blob": blob.hex()})
            except MemoryError:
                reply = json.dumps({"error": "the query takes too much memory"})
            signal.setitimer(signal.ITIMER_REAL, 0)
        else:
            reply = json.dumps({"unknown": True})
        replies.write(reply.encode() + b"\n")
        replies.flush()


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"  # for the modifiers localtime and utc
    time.tzset()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the end of the input ends this process
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    _serve(sys.stdin.buffer, sys.stdout.buffer)
