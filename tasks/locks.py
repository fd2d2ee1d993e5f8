"""Locks between the processes of this project, with a message for the user while one waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from tasks import paths
from tasks.progress import say


def try_lock(name: str) -> FileLock | None:
    """The lock `name`, held; None if another process has it."""
    lock = paths.lock(name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


@contextmanager
def exclusive_lock(name: str, waiting_message: str) -> Iterator[None]:
    """Hold the lock `name`; print `waiting_message` if another process has it. The lock of a killed process is free."""
    lock = try_lock(name)
    if lock is None:
        say(waiting_message)
        lock = paths.lock(name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
