"""Sessions: live environments by an id that cannot be guessed, each with its own lock, time limits and end.

Invariant: sessions share nothing. If an environment raises or hangs, only its own episode ends, with the cause. An environment whose call
was abandoned is never used again, because its thread may still be running: a reset continues with a new one.
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

from envs.base import EnvironmentFull, TextEnv, UnknownItem
from envs.registry import environment_class
from envs.server.metrics import Metrics
from envs.server.workers import AllThreadsBusy, CallTimeout, Workers

_T = TypeVar("_T")
_QUICK_SECONDS = 0.005
"""Environments whose recent steps took less on average share a thread."""
_CLOSE_SECONDS = 5.0
"""The time that all environments together have to close when the server ends."""
_NO_SESSION = "there is no such session: it never existed, was closed, or was idle for too long; create another"


class SessionError(Exception):
    """A request that failed. `status` is the HTTP status; the message says what was given and what to do; `kind` is for programs."""

    def __init__(self, status: int, message: str, kind: str = "request") -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_sessions`: open at the same time; `idle_seconds`: after which an unused session is closed; `step_seconds`: for one call of an
    environment."""

    max_sessions: int = 1024
    idle_seconds: float = 1800.0
    step_seconds: float = 60.0


@dataclass(slots=True)
class StepResult:
    """The result of a session's last reset or step. `turn` counts the steps of the episode."""

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
    last_used: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    last: StepResult | None = None
    last_request: tuple[int, str, str] | None = None
    """(turn, kind, text) of the last step: the same request sent again is not carried out again."""
    error: str | None = None
    abandoned: bool = False
    closed: bool = False


class Sessions:
    """All sessions of a server."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        self.open: dict[str, Session] = {}
        self.metrics = Metrics()
        self.workers = Workers(limits.step_seconds)
        self._creating = 0
        self._mean_seconds: defaultdict[tuple[str, str], float] = defaultdict(lambda: 10 * _QUICK_SECONDS)

    async def create(self, environment: str) -> Session:
        """Raises SessionError: 503 at the limit, 501 if the environment cannot run here, 500 and 504 if it cannot be created."""
        if len(self.open) + self._creating >= self.limits.max_sessions:
            raise SessionError(503, f"all {self.limits.max_sessions} sessions are taken; close some, or try again later", "full")
        self._creating += 1
        try:
            env = await self._create_env(environment)
            session = Session(secrets.token_urlsafe(16), environment, env, time.monotonic())
            self.open[session.id] = session
        finally:
            self._creating -= 1
        return session

    def get(self, session_id: str) -> Session:
        session = self.open.get(session_id)
        if session is None:
            raise SessionError(404, _NO_SESSION, "session")
        session.last_used = time.monotonic()
        return session

    async def reset(self, session: Session, item_id: str | None, seed: int | None) -> StepResult:
        async with session.lock:
            self._check_open(session)
            if session.error is not None:
                await self._replace_env(session)
            env, options = session.env, {"item_id": item_id} if item_id is not None else None

            def reset() -> tuple[str, dict[str, Any]] | UnknownItem:
                try:
                    return env.reset(seed=seed, options=options)
                except UnknownItem as error:
                    return error

            try:
                result = await self._run(session, "reset", reset)
            except SessionError:
                session.last_request = session.last = None  # the environment may have ended the earlier episode already
                raise
            if isinstance(result, UnknownItem):
                raise SessionError(404, str(result), "item")
            session.last_request, session.last = None, StepResult(result[0], 0.0, False, False, 0, result[1])
            return session.last

    async def step(self, session: Session, kind: Literal["action", "answer"], text: str, turn: int | None = None) -> StepResult:
        """One step with an action (already parsed) or an answer (a policy's whole text).

        `turn`: the number of steps that the client has seen. The last request sent again gets the same result; any other turn is refused
        (409).
        """
        async with session.lock:
            self._check_open(session)
            self._check_no_error(session)
            if session.last is None:
                raise SessionError(409, "this session has no episode yet; reset it")
            if turn is not None and turn != session.last.turn:
                if session.last_request == (turn, kind, text):
                    return session.last
                raise SessionError(409, f"turn {turn} was given, but the episode is at turn {session.last.turn}")
            if session.last.terminated or session.last.truncated:
                raise SessionError(409, "this episode is over; reset it")
            method = session.env.answer if kind == "answer" else session.env.step
            observation, reward, terminated, truncated, info = await self._run(session, "step", lambda: method(text))
            session.last_request = (session.last.turn, kind, text)
            session.last = StepResult(observation, reward, terminated, truncated, session.last.turn + 1, info)
            return session.last

    async def read(self, session: Session, function: Callable[[TextEnv], _T]) -> _T:
        """What `function` reads from a session's environment, without a step; it waits for a running one. Raises SessionError."""
        async with session.lock:
            self._check_open(session)
            self._check_no_error(session)
            env = session.env

            def read() -> _T | SessionError:
                try:
                    return function(env)
                except SessionError as error:
                    return error

            result = await self._call(session.environment, "read", read)
        if isinstance(result, SessionError):
            raise result
        return result

    async def close(self, session: Session) -> None:
        """Waits for a running step. Raises SessionError if the environment fails to close; the session is closed all the same."""
        if self.open.pop(session.id, None) is None:
            return
        async with session.lock:
            session.closed = True
            if not session.abandoned:
                await self._call(session.environment, "close", session.env.close)

    async def close_idle(self) -> None:
        """Close the sessions that have been idle for too long."""
        now = time.monotonic()
        idle = [
            session for session in self.open.values() if now - session.last_used > self.limits.idle_seconds and not session.lock.locked()
        ]
        await asyncio.gather(*map(self.close, idle), return_exceptions=True)

    async def close_all(self) -> None:
        closing = [asyncio.ensure_future(self.close(session)) for session in list(self.open.values())]
        if closing:
            await asyncio.wait(closing, timeout=min(_CLOSE_SECONDS, self.limits.step_seconds))
        for future in closing:
            future.cancel()
        await asyncio.gather(*closing, return_exceptions=True)

    def _check_open(self, session: Session) -> None:
        if session.closed:
            raise SessionError(404, _NO_SESSION, "session")

    def _check_no_error(self, session: Session) -> None:
        if session.error is not None:
            raise SessionError(409, f"an error has ended this episode: {session.error}; reset it", "fault")

    async def _create_env(self, environment: str) -> TextEnv:
        def create() -> TextEnv | str:
            cls = environment_class(environment)
            return cls.missing() or cls()

        env = await self._call(environment, "create", create)
        if isinstance(env, str):
            raise SessionError(501, f"{environment} cannot run on this server: {env}", "missing")
        return env

    async def _replace_env(self, session: Session) -> None:
        """A new environment after an error; the old one is closed, unless a thread may still be using it."""
        old, abandoned = session.env, session.abandoned
        session.env = await self._create_env(session.environment)
        session.error, session.abandoned, session.last, session.last_request = None, False, None, None
        if not abandoned:
            with suppress(SessionError):  # it has failed before
                await self._call(session.environment, "close", old.close)

    async def _run(self, session: Session, operation: str, function: Callable[[], _T]) -> _T:
        """A reset or step of a session's environment. An error ends the episode."""
        try:
            return await self._call(session.environment, operation, function)
        except SessionError as error:
            if error.kind == "fault":
                session.error, session.abandoned = str(error), error.status == 504
            raise
        except asyncio.CancelledError:
            session.error, session.abandoned = "the server ended", True
            raise

    async def _call(self, environment: str, operation: str, function: Callable[[], _T]) -> _T:
        mean = self._mean_seconds[environment, operation]
        try:
            result, seconds = await self.workers.run(function, quick=mean < _QUICK_SECONDS)
        except AllThreadsBusy:
            raise SessionError(503, "all threads are busy with slow environments; try again later", "full") from None
        except CallTimeout:
            self._mean_seconds[environment, operation] += self.limits.step_seconds
            self.metrics.environment_errors[environment] += 1
            raise SessionError(504, f"{environment}: no answer to {operation} within {self.limits.step_seconds:g} s", "fault") from None
        except EnvironmentFull as error:
            raise SessionError(503, f"{environment} has no room for another episode: {error}", "full") from None
        # Named boundary: whatever an environment raises is its own error, reported to its own client alone.
        except Exception as error:
            self.metrics.environment_errors[environment] += 1
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise SessionError(500, f"{environment} failed at {operation}: {cause}", "fault") from None
        self._mean_seconds[environment, operation] += 0.1 * (seconds - mean)
        if operation == "step":
            self.metrics.observe_step(environment, seconds)
        return result
