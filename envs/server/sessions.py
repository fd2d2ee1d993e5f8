"""Sessions: live environments by an id that cannot be guessed, each with its own lock, its own time limits and its own end.

Invariant: nothing is shared between sessions; what a world raises or how long it hangs ends its own episode, with the cause, and no other.
A world that was given up is never touched again, since its thread may be at it still: a reset goes on with a new one.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from envs.base import TextEnv, UnknownItem
from envs.registry import environment_class, make
from envs.server.metrics import Figures
from envs.server.workers import Busy, TooSlow, Workers

_T = TypeVar("_T")
_QUICK = 0.005
"""Seconds: worlds whose recent steps took less on average share a thread."""
_CLOSING = 5.0
"""Seconds that all worlds together have to close when the server ends."""
_GONE = "there is no such session: it was never there, was closed, or was idle for too long; create another"


class SessionError(Exception):
    """A request that cannot be met. `status` is HTTP's; the message says what was given and what to do; `kind` is for programs."""

    def __init__(self, status: int, message: str, kind: str = "request") -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


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


@dataclass(slots=True, eq=False)
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
    given_up: bool = False
    closed: bool = False


class Sessions:
    """All sessions of a server."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        self.live: dict[str, Session] = {}
        self.figures = Figures()
        self.workers = Workers(limits.step)
        self._making = 0
        self._pace: defaultdict[tuple[str, str], float] = defaultdict(lambda: 10 * _QUICK)

    async def create(self, environment: str) -> Session:
        """Raises SessionError: 503 at the cap, 501 for a world that cannot run here, 500 and 504 for one that cannot be made."""
        if len(self.live) + self._making >= self.limits.cap:
            raise SessionError(503, f"all {self.limits.cap} sessions are taken; close some, or try again later", "full")
        self._making += 1
        try:
            env = await self._made(environment)
            session = Session(secrets.token_urlsafe(16), environment, env, time.monotonic())
            self.live[session.id] = session
        finally:
            self._making -= 1
        return session

    def get(self, key: str) -> Session:
        session = self.live.get(key)
        if session is None:
            raise SessionError(404, _GONE, "session")
        session.used = time.monotonic()
        return session

    async def reset(self, session: Session, item_id: str | None, seed: int | None) -> Reply:
        async with session.lock:
            self._check(session)
            if session.failure is not None:
                await self._renew(session)
            env, options = session.env, {"item_id": item_id} if item_id is not None else None

            def begin() -> tuple[str, dict[str, Any]] | UnknownItem:
                try:
                    return env.reset(seed=seed, options=options)
                except UnknownItem as error:
                    return error

            begun = await self._run(session, "reset", begin)
            if isinstance(begun, UnknownItem):
                raise SessionError(404, str(begun), "item")
            session.asked, session.last = None, Reply(begun[0], 0.0, False, False, 0, begun[1])
            return session.last

    async def step(self, session: Session, kind: Literal["action", "answer"], text: str, turn: int | None = None) -> Reply:
        """One step: `kind` is action (already taken out) or answer (a policy's whole text).

        `turn`: the number of steps that the client has seen. The step that was just done is answered again, any other is refused (409).
        """
        async with session.lock:
            self._check(session)
            if session.failure is not None:
                raise SessionError(409, f"this episode has ended with a fault: {session.failure}; reset it", "fault")
            if session.last is None:
                raise SessionError(409, "this session has no episode yet; reset it")
            if turn is not None and turn != session.last.turn:
                if session.asked == (turn, kind, text):
                    return session.last
                raise SessionError(409, f"turn {turn} was given, but the episode is at turn {session.last.turn}")
            if session.last.terminated or session.last.truncated:
                raise SessionError(409, "this episode is over; reset it")
            act = session.env.answer if kind == "answer" else session.env.step
            told = await self._run(session, "step", lambda: act(text))
            session.asked = (session.last.turn, kind, text)
            session.last = Reply(*told[:4], session.last.turn + 1, told[4])
            return session.last

    async def close(self, session: Session) -> None:
        """After a running step. Raises SessionError where the world fails to close; the session is gone all the same."""
        if self.live.pop(session.id, None) is None:
            return
        async with session.lock:
            session.closed = True
            if not session.given_up:
                await self._work(session.environment, "close", session.env.close)

    async def sweep(self) -> None:
        """Close the sessions that have been idle for too long."""
        now = time.monotonic()
        idle = [one for one in self.live.values() if now - one.used > self.limits.idle and not one.lock.locked()]
        await asyncio.gather(*map(self.close, idle), return_exceptions=True)

    async def close_all(self) -> None:
        closing = [asyncio.ensure_future(self.close(session)) for session in list(self.live.values())]
        if closing:
            await asyncio.wait(closing, timeout=min(_CLOSING, self.limits.step))
        for one in closing:
            one.cancel()
        await asyncio.gather(*closing, return_exceptions=True)

    def _check(self, session: Session) -> None:
        if session.closed:
            raise SessionError(404, _GONE, "session")

    async def _made(self, environment: str) -> TextEnv:
        def work() -> TextEnv | str:
            return environment_class(environment).missing() or make(environment)

        made = await self._work(environment, "create", work)
        if isinstance(made, str):
            raise SessionError(501, f"{environment} cannot run on this server: {made}", "missing")
        return made

    async def _renew(self, session: Session) -> None:
        """Another world after a fault; the old one is closed, unless a thread may be at it."""
        old, given_up = session.env, session.given_up
        session.env = await self._made(session.environment)
        session.failure, session.given_up, session.last, session.asked = None, False, None, None
        if not given_up:
            with suppress(SessionError):  # it has failed before
                await self._work(session.environment, "close", old.close)

    async def _run(self, session: Session, what: str, call: Callable[[], _T]) -> _T:
        """A reset or step of a session's world. A fault ends the episode."""
        try:
            return await self._work(session.environment, what, call)
        except SessionError as error:
            if error.kind == "fault":
                session.failure, session.given_up = str(error), error.status == 504
            raise
        except asyncio.CancelledError:
            session.failure, session.given_up = "the server ended", True
            raise

    async def _work(self, environment: str, what: str, call: Callable[[], _T]) -> _T:
        pace = self._pace[environment, what]
        try:
            result, seconds = await self.workers.run(call, quick=pace < _QUICK)
        except Busy:
            raise SessionError(503, "all threads are taken by slow worlds; try again later", "full") from None
        except TooSlow:
            self._pace[environment, what] += self.limits.step
            self.figures.faults[environment] += 1
            raise SessionError(504, f"{environment}: no answer to {what} within {self.limits.step:g} s", "fault") from None
        # Named boundary: whatever a world raises is a fault of that world, told to its own client alone.
        except Exception as error:
            self.figures.faults[environment] += 1
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise SessionError(500, f"{environment} failed at {what}: {cause}", "fault") from None
        self._pace[environment, what] += 0.1 * (seconds - pace)
        if what == "step":
            self.figures.step(environment, seconds)
        return result
