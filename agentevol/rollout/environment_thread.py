"""A thread for one episode's environment, so that a call that never returns ends the episode and not the rollout.

Invariant: all calls of an environment run in the same thread, one at a time, and the caller waits for each: the order of all calls is that
of a program without threads. After a timeout the thread gets no more calls, and the caller never waits for it again.
"""

from __future__ import annotations

import ctypes
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class CallFailed(Exception):
    """A call of an environment raised an exception, or did not return in time; `cause` says which."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class StepTimeout(Exception):
    """A call of an environment did not return in time."""


class _Abandoned(BaseException):
    """Ends an abandoned call from inside; `except Exception` does not catch it."""


class EnvironmentThread:
    """Runs calls, each for at most `timeout` seconds; None has no limit."""

    def __init__(self, timeout: float | None) -> None:
        self.timeout = None if timeout is None else min(timeout, threading.TIMEOUT_MAX)
        self.is_busy = False
        """Whether a call has not returned: while it runs, after its timeout, or after an interrupt of the waiting thread."""
        self._calls: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        # A daemon: a call that never returns must not keep the process alive.
        self._thread = threading.Thread(target=_run_calls, args=(self._calls, self._results), name="environment", daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(*arguments)` in the thread. Raises CallFailed."""
        self.is_busy = True
        self._calls.put((function, arguments))
        try:
            value, error = self._results.get(timeout=self.timeout)
        except queue.Empty:
            self._abandon()
            message = f"no result after {self.timeout:g} seconds; if the environment is only slow, raise rollout.step_timeout"
            raise CallFailed(StepTimeout(message)) from None
        self.is_busy = False
        if error is not None:
            raise CallFailed(error)
        return value

    def close(self, last_call: Callable[[], Any] | None = None) -> None:
        """End the thread, after `last_call`. If it is busy, this does not wait: both happen if its call ever returns.

        Raises CallFailed if `last_call` fails.
        """
        try:
            if self.is_busy:
                self._abandon()
                if last_call is not None:
                    self._calls.put((last_call, ()))
            elif last_call is not None:
                self.call(last_call)
        finally:
            self._calls.put(None)

    def _abandon(self) -> None:
        """End a loop of Python code, which would take processor time for ever. A call that waits inside C code goes on waiting."""
        if self._thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(_Abandoned))


def _run_calls(calls: queue.SimpleQueue[Any], results: queue.SimpleQueue[Any]) -> None:
    """The main loop of the thread."""
    with suppress(_Abandoned):  # it may arrive after the call that it was meant for
        while (call := calls.get()) is not None:
            function, arguments = call
            try:
                results.put((function(*arguments), None))
            except BaseException as error:  # named boundary: the waiting thread decides what SystemExit and KeyboardInterrupt mean
                results.put((None, error))
            del call, function, arguments  # keeps nothing alive while it waits
