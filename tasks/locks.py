"""Locks between the processes of this project, with a message for the user while one waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import Timeout

from tasks import paths
from tasks.progress import say


@contextmanager
def exclusive_lock(name: str, waiting_message: str) -> Iterator[None]:
    """Hold the lock `name`; print `waiting_message` if another process has it. The lock of a killed process is free."""
    lock = paths.lock(name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(waiting_message)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
