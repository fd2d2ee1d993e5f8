"""Sessions: live environments by an id that cannot be guessed, each with its own lock, its own time limits and its own end.

Invariant: nothing is shared between sessions; what a world raises or how long it hangs ends its own session, with the cause, and no other.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from envs.base import TextEnv
from envs.registry import environment_class, make

_T = TypeVar("_T")
_THREADS = 32


class SessionError(Exception):
    """A request that cannot be met. `status` is HTTP's; the message says what was given and what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Limits:
    """`cap`: sessions at once; `idle`: seconds after which one that nobody asks is closed; `step`: seconds that a world may take."""

    cap: int = 1024
    idle: float = 1800.0
    step: float = 60.0


@dataclass(slots=True)
class Reply:
    """What a session last said. `turn` counts the steps of the episode."""

    observation: str
    reward: float
    terminated: bool
    truncated: bool
    turn: int
    info: dict[str, Any]


@dataclass(slots=True)
class Session:
    id: str
    environment: str
    env: TextEnv
    used: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    last: Reply | None = None
    asked: tuple[int, str, str] | None = None
    """(turn, kind, text) of the last step, so that the same one sent again is not done again."""
    failure: str | None = None


class Sessions:
    """All sessions of a server."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        self.live: dict[str, Session] = {}
        self.hung = 0
        self._pool = ThreadPoolExecutor(_THREADS, "worlds")

    async def create(self, environment: str) -> Session:
        """Raises SessionError: 503 at the cap, 500 for a world that cannot be made here."""
        if len(self.live) >= self.limits.cap:
            raise SessionError(503, f"all {self.limits.cap} sessions are taken; close some, or try again later")
        cls = environment_class(environment)
        if reason := cls.missing():
            raise SessionError(501, f"{environment} cannot run on this server: {reason}")
        env = await self._within_time(lambda: make(environment), f"{environment} could not be made")
        session = Session(secrets.token_urlsafe(16), environment, env, time.monotonic())
        self.live[session.id] = session
        return session

    def get(self, key: str) -> Session:
        session = self.live.get(key)
        if session is None:
            raise SessionError(404, "there is no such session: it was never there, was closed, or was idle for too long; create another")
        session.used = time.monotonic()
        return session

    async def reset(self, session: Session, item_id: str | None, seed: int | None) -> Reply:
        async with session.lock:
            options = {"item_id": item_id} if item_id is not None else None
            observation, info = await self._run(session, lambda: session.env.reset(seed=seed, options=options))
            session.failure, session.asked = None, None
            session.last = Reply(observation, 0.0, False, False, 0, info)
            return session.last

    async def step(self, session: Session, kind: str, text: str, turn: int | None = None) -> Reply:
        """One step: `kind` is action (already taken out) or answer (a policy's whole text).

        `turn`: the number of steps that the client has seen. The step that was just done is answered again, any other is refused (409).
        """
        async with session.lock:
            if session.failure:
                raise SessionError(409, f"this episode has ended with a fault: {session.failure}; reset it")
            if session.last is None:
                raise SessionError(409, "this session has no episode yet; reset it")
            if turn is not None and turn != session.last.turn:
                if session.asked == (turn, kind, text):
                    return session.last
                raise SessionError(409, f"turn {turn} was given, but the episode is at turn {session.last.turn}")
            if session.env.done:
                raise SessionError(409, "this episode is over; reset it")
            act = session.env.answer if kind == "answer" else session.env.step
            observation, reward, terminated, truncated, info = await self._run(session, lambda: act(text))
            session.asked = (session.last.turn, kind, text)
            session.last = Reply(observation, reward, terminated, truncated, session.last.turn + 1, info)
            return session.last

    async def close(self, session: Session) -> None:
        if self.live.pop(session.id, None) is not None and session.failure is None:
            await self._within_time(session.env.close, "the world could not be closed")

    async def sweep(self) -> int:
        """Close the sessions that have been idle for too long; returns how many."""
        stale = [one for one in self.live.values() if time.monotonic() - one.used > self.limits.idle and not one.lock.locked()]
        for session in stale:
            await self.close(session)
        return len(stale)

    async def close_all(self) -> None:
        for session in list(self.live.values()):
            try:
                await self.close(session)
            except SessionError:
                continue  # it is on its way out, and so is the server
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, session: Session, work: Callable[[], _T]) -> _T:
        try:
            return await self._within_time(work, f"{session.environment} failed")
        except SessionError as error:
            if error.status >= 500:
                session.failure = str(error)
            raise

    async def _within_time(self, work: Callable[[], _T], what: str) -> _T:
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.limits.step)
        except TimeoutError:
            self._abandon(future)
            raise SessionError(504, f"{what}: no answer within {self.limits.step:g} s") from None
        except KeyError as error:  # UnknownItem: the client's fault
            raise SessionError(404, str(error)) from None
        # Named boundary: whatever else a world raises is a fault of that world, told to its own client alone.
        except Exception as error:
            raise SessionError(500, f"{what}: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from None

    def _abandon(self, future: asyncio.Future[Any]) -> None:
        """A thread cannot be stopped: it is left to its world, and the pool gets another in its place."""
        self.hung += 1
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._pool._max_workers += 1
