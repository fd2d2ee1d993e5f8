"""The sites' data: one sqlite database in memory per episode, a copy of one that a seed filled.

Invariant: nothing that an episode writes is seen by another one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from threading import Lock

from envs.webarena.sites import seed

Rows = list[tuple[str | int | float | None, ...]]


class Store:
    """One episode's database; safe to ask from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        with _filling:
            _filled().backup(self._db)

    def rows(self, sql: str, values: Sequence[str | int | float] = ()) -> Rows:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[str | int | float] = ()) -> tuple[str | int | float | None, ...] | None:
        found = self.rows(sql, values)
        return found[0] if found else None

    def close(self) -> None:
        with self._lock:
            self._db.close()


_filling = Lock()


@lru_cache(maxsize=1)
def _filled() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", check_same_thread=False)
    seed.fill(made)
    made.commit()
    return made
