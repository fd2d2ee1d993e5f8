"""Runs the policy's SQL, read-only and within limits of time, rows and memory, and compares two results (execution accuracy).

Invariant: whatever the statement is, `execute` takes at most its timeout and a second more, and this process holds at most
`MAX_RESULT_BYTES` of its values. The statements run in processes of their own (query_process.py), because SQLite cannot interrupt a
function call: one `LIKE` of two long values takes minutes.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from envs.bird import query_process

TIMEOUT_SECONDS = 0.5

Row = tuple[Any, ...]


class QueryError(ValueError):
    """The statement gives no rows: it is invalid, forbidden, or exceeds a limit. The policy reads the message."""


class ReadOnlyDatabase:
    """A SQLite database that only answers SELECT. `content`: the bytes of its file. Thread-safe."""

    def __init__(self, content: bytes) -> None:
        self._content, self._key = content, _digest(content)

    def execute(self, sql: str, timeout: float = TIMEOUT_SECONDS) -> list[Row]:
        """The rows of one SELECT; `timeout` in seconds. Raises QueryError."""
        reply = _query_processes(os.getpid()).execute(self._key, self._content, sql, timeout)
        if "error" in reply:
            raise QueryError(_error_text(reply["error"]))
        return [tuple(row) for row in reply["rows"]]


def same_rows(rows: list[Row], expected: list[Row]) -> bool:
    """BIRD's execution accuracy: both results hold the same set of rows, in any order, repeated or not; numbers to six digits."""
    return {tuple(map(_canonical, row)) for row in rows} == {tuple(map(_canonical, row)) for row in expected}


def _canonical(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, int | float) and abs(value) < 1e15 else value


def _error_text(text: str) -> str:
    if "interrupted" in text:
        return f"the query took more than {TIMEOUT_SECONDS} s"
    if "one statement" in text:
        return "one statement only"
    if "not authorized" in text or "prohibited" in text:
        return "only SELECT is allowed"
    return text


class _QueryProcesses:
    """The query processes of this process: at most one per CPU, each with one statement at a time, started when they are needed."""

    def __init__(self) -> None:
        self._idle: list[_QueryProcess] = []
        self._free = threading.BoundedSemaphore(os.cpu_count() or 1)

    def execute(self, key: str, content: bytes, sql: str, timeout: float) -> dict[str, Any]:
        """The reply of a query process. A process that ends for another reason than the timeout gets a second try: it may have been
        killed from outside, and then the query is not to blame."""
        with self._free:
            for _ in range(2):
                try:
                    process = self._idle.pop()
                except IndexError:
                    process = _QueryProcess()
                reply = process.execute(key, content, sql, timeout)
                if reply is not None:
                    self._idle.append(process)
                    return reply
                if process.wait() == -signal.SIGALRM:
                    return {"error": "interrupted"}
        return {"error": "the query takes too much memory"}


class _QueryProcess:
    def __init__(self) -> None:
        # -I -S: nothing but the standard library, and nothing from the working directory.
        command = [sys.executable, "-I", "-S", str(Path(query_process.__file__))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def execute(self, key: str, content: bytes, sql: str, timeout: float) -> dict[str, Any] | None:
        """The reply, or None if the process has ended."""
        reply = self._request(key, b"", sql, timeout)
        return self._request(key, content, sql, timeout) if reply is not None and "unknown" in reply else reply

    def wait(self) -> int:
        """Wait for the end of the process; its return code."""
        with suppress(OSError):
            self._stdin.close()
        self._stdout.close()
        return self._process.wait()

    def _request(self, key: str, content: bytes, sql: str, timeout: float) -> dict[str, Any] | None:
        request = {"database": key, "size": len(content), "sql": sql, "timeout": timeout}
        try:
            self._stdin.write(json.dumps(request).encode() + b"\n" + content)
            self._stdin.flush()
            line = self._stdout.readline()
        except OSError:
            return None
        if not line.endswith(b"\n"):
            return None
        reply: dict[str, Any] = json.loads(line, object_hook=lambda value: bytes.fromhex(value["blob"]) if "blob" in value else value)
        return reply


@lru_cache(maxsize=None)
def _query_processes(process_id: int) -> _QueryProcesses:
    """Those of this process: a forked one must not write to its parent's."""
    return _QueryProcesses()


@lru_cache(maxsize=64)
def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
