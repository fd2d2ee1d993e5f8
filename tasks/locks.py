"""Taking turns with the other processes of this project, and saying so where one has to wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import Timeout

from tasks import paths
from tasks.progress import say


@contextmanager
def alone(name: str, waits: str) -> Iterator[None]:
    """Hold the lock `name`; `waits` is said where another process has it. That of a process that was killed is free."""
    lock = paths.lock(name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(waits)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
