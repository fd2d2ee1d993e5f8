"""Threads that run the worlds, watched by the server's loop.

Invariant: the loop never waits for a thread. Work that takes longer than it may is given up, its thread left to it and replaced.

Quick work shares one thread, for waking another one costs more than such a step. When one piece proves slow after all, a new thread takes
over the queue behind it. Other work has as many threads as there are pieces of it, up to `_MOST`.
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
_MOST = 64
_TICK = 0.05
_PATIENCE = 0.1
"""Seconds after which a piece of quick work holds up those behind it no longer."""


class TooSlow(Exception):
    """The work was given up: its thread is at it still, so what it works on must not be touched again."""


class Busy(Exception):
    """All threads were taken for too long; the work was not begun."""


class Workers:
    """`seconds`: how long a piece of work may take, and how long it may wait to be begun. `given_up`: how many took longer so far."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.given_up = seconds, 0
        self._quick, self._other = _Lane(most=1, patience=min(_PATIENCE, seconds)), _Lane(most=_MOST, patience=seconds)
        self._done: deque[_Work] = deque()
        self._told = self._watching = False

    async def run(self, call: Callable[[], _T], *, quick: bool = False) -> tuple[_T, float]:
        """What `call` returns, and the seconds it took. Raises what it raises, TooSlow, and Busy."""
        loop, lane = asyncio.get_running_loop(), self._quick if quick else self._other
        work = _Work(call, lane, loop.create_future(), time.monotonic())
        lane.asked.add(work)
        if lane.active < lane.most and lane.active < len(lane.asked):
            self._hire(loop, lane)
        lane.queue.put(work)
        if not self._watching:
            self._watching = True
            loop.call_later(_TICK, self._watch, loop)
        try:
            await work.future
        except asyncio.CancelledError:
            if work.claim.acquire(blocking=False):
                lane.asked.discard(work)
            raise
        if work.error is not None:
            raise work.error
        assert work.begun is not None
        return work.result, work.ended - work.begun

    def _hire(self, loop: asyncio.AbstractEventLoop, lane: _Lane) -> None:
        worker = _Worker()
        lane.workers.append(worker)
        lane.active += 1
        # A daemon: a world that hangs for ever does not keep the process from ending.
        threading.Thread(target=self._work, args=(loop, lane, worker), name="worlds", daemon=True).start()

    def _work(self, loop: asyncio.AbstractEventLoop, lane: _Lane, worker: _Worker) -> None:
        """What a thread does. Whatever it shares with the loop is written by one of the two only."""
        while not worker.replaced:
            work = lane.queue.get()
            if not work.claim.acquire(blocking=False):
                continue
            work.begun = time.monotonic()
            worker.work = work
            # Named boundary: a world may raise anything, SystemExit too; it is told to its own session and ends nothing else.
            try:
                work.result = work.call()
            except Exception as error:
                work.error = error
            except BaseException as error:
                work.error = RuntimeError(f"{type(error).__name__}: {error}")
            worker.work = None
            work.ended = time.monotonic()
            self._done.append(work)
            if not self._told:
                self._told = True
                with suppress(RuntimeError):  # the loop has ended, nobody listens
                    loop.call_soon_threadsafe(self._hear)
        worker.ended = True

    def _hear(self) -> None:
        self._told = False  # first, so that what is done from here on is told again
        while self._done:
            work = self._done.popleft()
            work.lane.asked.discard(work)
            if not work.future.done():
                work.future.set_result(None)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        for lane in (self._quick, self._other):
            for worker in list(lane.workers):
                if worker.ended:
                    lane.workers.remove(worker)
                elif (work := worker.work) is not None and work.begun is not None:
                    if now - work.begun > lane.patience and not worker.replaced:
                        worker.replaced = True
                        lane.active -= 1
                    if now - work.begun > self.seconds and work in lane.asked:
                        self.given_up += 1
                        self._give_up(work, TooSlow())
            for work in [work for work in lane.asked if work.begun is None and now - work.asked > self.seconds]:
                if work.claim.acquire(blocking=False):
                    self._give_up(work, Busy())
            while lane.active < min(lane.most, len(lane.asked)) and not lane.queue.empty():
                self._hire(loop, lane)
        self._watching = bool(self._quick.asked or self._other.asked)
        if self._watching:
            loop.call_later(_TICK, self._watch, loop)

    def _give_up(self, work: _Work, reason: Exception) -> None:
        work.lane.asked.discard(work)
        if not work.future.done():
            work.future.set_exception(reason)


@dataclass(slots=True, eq=False)
class _Work:
    call: Callable[[], Any]
    lane: _Lane
    future: asyncio.Future[None]
    asked: float
    claim: threading.Lock = field(default_factory=threading.Lock)
    """Taken by the thread that begins it, or by the loop, after which no thread does."""
    begun: float | None = None
    ended: float = 0.0
    result: Any = None
    error: Exception | None = None


@dataclass(slots=True, eq=False)
class _Worker:
    work: _Work | None = None
    replaced: bool = False
    ended: bool = False


@dataclass(slots=True, eq=False)
class _Lane:
    """A queue and its threads. `patience`: seconds after which a thread is replaced; `active`: those that are not."""

    most: int
    patience: float
    queue: SimpleQueue[_Work] = field(default_factory=SimpleQueue)
    workers: list[_Worker] = field(default_factory=list)
    asked: set[_Work] = field(default_factory=set)
    active: int = 0
