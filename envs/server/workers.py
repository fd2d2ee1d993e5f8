"""Threads that run the environments, watched by the server's event loop.

Invariant: the loop never waits for a thread. A call that exceeds its time limit is abandoned: its thread is left to it and replaced.

Quick calls share one thread, because waking another one costs more than such a step. If a call proves slow after all, a new thread takes
over the queue behind it. Slow calls have a thread each, up to `_MAX_THREADS`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")
_MAX_THREADS = 64
_WATCH_INTERVAL = 0.05
_QUICK_LIMIT = 0.1
"""Seconds after which a call on the quick thread no longer blocks those behind it."""


class CallTimeout(Exception):
    """The call was abandoned. Its thread is still running it, so the object it works on must not be used again."""


class AllThreadsBusy(Exception):
    """All threads were busy for too long; the call was not started."""


class Workers:
    """`seconds`: how long a call may take, and how long it may wait to be started. `abandoned`: how many took longer so far."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.abandoned = seconds, 0
        self._quick = _Pool(max_threads=1, replace_after=min(_QUICK_LIMIT, seconds))
        self._slow = _Pool(max_threads=_MAX_THREADS, replace_after=seconds)
        self._finished: deque[_Call] = deque()
        self._notified = self._watching = False

    async def run(self, function: Callable[[], _T], *, quick: bool = False) -> tuple[_T, float]:
        """The result of `function`, and the seconds it took. Raises what it raises, CallTimeout, and AllThreadsBusy."""
        loop, pool = asyncio.get_running_loop(), self._quick if quick else self._slow
        call = _Call(function, pool, loop.create_future(), time.monotonic())
        pool.pending.add(call)
        if pool.active < pool.max_threads and pool.active < len(pool.pending):
            self._start_thread(loop, pool)
        pool.queue.put(call)
        if not self._watching:
            self._watching = True
            loop.call_later(_WATCH_INTERVAL, self._watch, loop)
        try:
            await call.future
        except asyncio.CancelledError:
            if call.claim.acquire(blocking=False):
                pool.pending.discard(call)
            raise
        if call.error is not None:
            raise call.error
        assert call.started is not None
        return call.result, call.ended - call.started

    def _start_thread(self, loop: asyncio.AbstractEventLoop, pool: _Pool) -> None:
        worker = _Worker()
        pool.workers.append(worker)
        pool.active += 1
        # A daemon: an environment that hangs for ever does not keep the process from ending.
        threading.Thread(target=self._run_calls, args=(loop, pool, worker), name="environments", daemon=True).start()

    def _run_calls(self, loop: asyncio.AbstractEventLoop, pool: _Pool, worker: _Worker) -> None:
        """The thread's main function. Every attribute that it shares with the loop is written by one of the two only."""
        while not worker.replaced:
            call = pool.queue.get()
            if not call.claim.acquire(blocking=False):
                continue
            call.started = time.monotonic()
            worker.call = call
            # Named boundary: an environment may raise anything, SystemExit too; only its own session gets the error.
            try:
                call.result = call.function()
            except Exception as error:
                call.error = error
            except BaseException as error:
                call.error = RuntimeError(f"{type(error).__name__}: {error}")
            worker.call = None
            call.ended = time.monotonic()
            self._finished.append(call)
            if not self._notified:
                self._notified = True
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(self._resolve_finished)
        worker.ended = True

    def _resolve_finished(self) -> None:
        self._notified = False  # first, so that a call that finishes from here on notifies the loop again
        while self._finished:
            call = self._finished.popleft()
            call.pool.pending.discard(call)
            if not call.future.done():
                call.future.set_result(None)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        for pool in (self._quick, self._slow):
            for worker in list(pool.workers):
                if worker.ended:
                    pool.workers.remove(worker)
                elif (call := worker.call) is not None and call.started is not None:
                    if now - call.started > pool.replace_after and not worker.replaced:
                        worker.replaced = True
                        pool.active -= 1
                    if now - call.started > self.seconds and call in pool.pending:
                        self.abandoned += 1
                        self._abandon(call, CallTimeout())
            for call in [call for call in pool.pending if call.started is None and now - call.submitted > self.seconds]:
                if call.claim.acquire(blocking=False):
                    self._abandon(call, AllThreadsBusy())
            while pool.active < min(pool.max_threads, len(pool.pending)) and not pool.queue.empty():
                self._start_thread(loop, pool)
        self._watching = bool(self._quick.pending or self._slow.pending)
        if self._watching:
            loop.call_later(_WATCH_INTERVAL, self._watch, loop)

    def _abandon(self, call: _Call, reason: Exception) -> None:
        call.pool.pending.discard(call)
        if not call.future.done():
            call.future.set_exception(reason)


@dataclass(slots=True, eq=False)
class _Call:
    function: Callable[[], Any]
    pool: _Pool
    future: asyncio.Future[None]
    submitted: float
    claim: threading.Lock = field(default_factory=threading.Lock)
    """Acquired by the thread that starts the call, or by the loop, after which no thread starts it."""
    started: float | None = None
    ended: float = 0.0
    result: Any = None
    error: Exception | None = None


@dataclass(slots=True, eq=False)
class _Worker:
    call: _Call | None = None
    replaced: bool = False
    ended: bool = False


@dataclass(slots=True, eq=False)
class _Pool:
    """A queue and its threads. `replace_after`: seconds after which a busy thread is replaced; `active`: threads not replaced."""

    max_threads: int
    replace_after: float
    queue: SimpleQueue[_Call] = field(default_factory=SimpleQueue)
    workers: list[_Worker] = field(default_factory=list)
    pending: set[_Call] = field(default_factory=set)
    active: int = 0
