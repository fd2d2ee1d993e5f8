"""The server: JSON over HTTP, described by OpenAPI at /docs.

Invariant: a client's mistake is answered with 4xx and what to do; 5xx is told only of worlds that failed, were slow, or are not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from envs.registry import ENVIRONMENTS, UnknownEnvironment, environment_class
from envs.serve import agentgym
from envs.serve.sessions import Limits, Reply, Session, SessionError, Sessions

_SWEEP_SECONDS = 5.0
_LONGEST = 100_000
_MOST_AT_ONCE = 1024


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Create(_Body):
    environment: str = Field(description="One of GET /environments", examples=["textcraft"])


class Reset(_Body):
    item_id: str | None = Field(
        None, description="The instruction; without one, a training instruction is drawn", examples=["textcraft_31"], max_length=200
    )
    seed: int | None = Field(None, description="For the drawing", ge=0, lt=2**32)


class Step(_Body):
    action: str | None = Field(None, description="An action, taken out of the policy's text", max_length=_LONGEST)
    answer: str | None = Field(None, description="Or the policy's whole text: Thought: ... Action: ...", max_length=_LONGEST)
    turn: int | None = Field(None, description="How many steps the client has seen: makes sending a step again safe", ge=0)

    @model_validator(mode="after")
    def _one_of_them(self) -> Step:
        if (self.action is None) == (self.answer is None):
            raise ValueError("give either action or answer")
        return self


class OneOf(Step):
    session: str


class Batch(_Body):
    steps: list[OneOf] = Field(max_length=_MOST_AT_ONCE)


class Said(BaseModel):
    """What a session says to a reset or a step."""

    observation: str
    reward: float
    terminated: bool
    truncated: bool
    turn: int
    info: dict[str, Any]


class Created(BaseModel):
    session: str
    environment: str


class Card(BaseModel):
    name: str
    prompt: str
    task_types: list[str]
    max_rounds: int
    instructions: int
    eval: int
    agent_traj: int
    agent_traj_l: int
    missing: str | None


def make_app(names: list[str] | None = None, limits: Limits = Limits(), token: str | None = None) -> FastAPI:  # noqa: B008
    """The application for the given environments (all of them by default). With a `token`, every request must bear it."""
    offered = sorted(names or ENVIRONMENTS)
    sessions, figures = Sessions(limits), Figures()

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep(sessions))
        yield
        sweeping.cancel()
        await sessions.close_all()

    app = FastAPI(title="AgentEvol environments", version="1", lifespan=life)
    app.state.sessions = sessions

    if token is not None:  # a middleware costs half of a quick step

        @app.middleware("http")
        async def guarded(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if request.url.path != "/health" and not hmac.compare_digest(given.encode(), token.encode()):
                return JSONResponse({"error": "a token is needed: send the header Authorization: Bearer <token>"}, 401)
            return await answer(request)

    @app.exception_handler(SessionError)
    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, SessionError)
        figures.errors[error.status] += 1
        headers = {"Retry-After": "5"} if error.status == 503 else None
        return JSONResponse({"error": str(error)}, error.status, headers)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the server answers, and with how many sessions."""
        return {"status": "ok", "sessions": len(sessions.live), "cap": limits.cap, "hung": sessions.hung}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        """Figures in Prometheus' text form."""
        return figures.text(sessions)

    @app.get("/environments")
    async def environments() -> list[Card]:
        """The environments that are served."""
        return [_card(name) for name in offered]

    @app.get("/environments/{name}/instructions")
    async def instructions(
        name: str, split: Annotated[Literal["train", "train_large", "explore", "eval"], Query()] = "eval"
    ) -> list[dict[str, Any]]:
        """The instructions of a split, in its fixed order."""
        return [
            {"item_id": one.item_id, "task_type": one.task_type, "difficulty": one.difficulty}
            for one in _class(name, offered).instructions(split)
        ]

    @app.post("/sessions", status_code=201)
    async def create(body: Create) -> Created:
        """A new session; reset it to begin an episode."""
        _class(body.environment, offered)
        session = await sessions.create(body.environment)
        return Created(session=session.id, environment=session.environment)

    @app.post("/sessions/{key}/reset", response_model=Said)
    async def reset(key: Annotated[str, Path()], body: Reset) -> Any:
        """Begin an episode."""
        return _told(await sessions.reset(sessions.get(key), body.item_id, body.seed))

    @app.post("/sessions/{key}/step", response_model=Said)
    async def step(key: Annotated[str, Path()], body: Step) -> Any:
        """One step of the episode."""
        return _told(await _stepped(sessions.get(key), body))

    @app.get("/sessions/{key}", response_model=Said)
    async def observe(key: Annotated[str, Path()]) -> Any:
        """What the session last said."""
        last = sessions.get(key).last
        if last is None:
            raise SessionError(409, "this session has no episode yet; reset it")
        return _told(last)

    @app.delete("/sessions/{key}", status_code=204)
    async def close(key: Annotated[str, Path()]) -> None:
        """End a session."""
        await sessions.close(sessions.get(key))

    @app.post("/steps")
    async def batch(body: Batch) -> JSONResponse:
        """Many steps at once; one entry for each, in order: what its session says, or {"status", "error"}."""
        return JSONResponse(list(await asyncio.gather(*map(one_of_many, body.steps))))

    async def one_of_many(body: OneOf) -> dict[str, Any]:
        try:
            return _plain(await _stepped(sessions.get(body.session), body))
        except SessionError as error:
            figures.errors[error.status] += 1
            return {"status": error.status, "error": str(error)}

    async def _stepped(session: Session, body: Step) -> Reply:
        began = time.perf_counter()
        kind, text = ("action", body.action) if body.action is not None else ("answer", body.answer)
        assert text is not None
        reply = await sessions.step(session, kind, text, body.turn)
        figures.step(session.environment, time.perf_counter() - began)
        return reply

    app.include_router(agentgym.routes(offered, sessions))
    return app


class Figures:
    """What /metrics tells: steps and seconds per environment, errors per status."""

    bounds = (0.001, 0.01, 0.1, 1.0, 10.0)

    def __init__(self) -> None:
        self.steps: Counter[tuple[str, float]] = Counter()
        self.seconds: Counter[str] = Counter()
        self.errors: Counter[int] = Counter()

    def step(self, environment: str, seconds: float) -> None:
        self.steps[environment, next((bound for bound in self.bounds if seconds <= bound), float("inf"))] += 1
        self.seconds[environment] += seconds  # type: ignore[assignment]

    def text(self, sessions: Sessions) -> str:
        lines = [
            "# TYPE agentevol_sessions gauge",
            f"agentevol_sessions {len(sessions.live)}",
            "# TYPE agentevol_hung counter",
            f"agentevol_hung {sessions.hung}",
        ]
        lines.append("# TYPE agentevol_errors counter")
        lines += [f'agentevol_errors{{status="{status}"}} {count}' for status, count in sorted(self.errors.items())]
        lines.append("# TYPE agentevol_step_seconds histogram")
        for name in sorted(self.seconds):
            count = 0
            for bound in (*self.bounds, float("inf")):
                count += self.steps[name, bound]
                label = "+Inf" if bound == float("inf") else f"{bound:g}"
                lines.append(f'agentevol_step_seconds_bucket{{environment="{name}",le="{label}"}} {count}')
            lines += [
                f'agentevol_step_seconds_sum{{environment="{name}"}} {self.seconds[name]:.6f}',
                f'agentevol_step_seconds_count{{environment="{name}"}} {count}',
            ]
        return "\n".join(lines) + "\n"


async def _sweep(sessions: Sessions) -> None:
    while True:
        await asyncio.sleep(min(_SWEEP_SECONDS, sessions.limits.idle / 2))
        await sessions.sweep()


def _class(name: str, offered: list[str]) -> Any:
    try:
        if name in offered:
            return environment_class(name)
    except UnknownEnvironment:
        pass
    raise SessionError(404, f"there is no environment {name[:60]!r} here; there are: {', '.join(offered)}")


def _card(name: str) -> Card:
    cls = environment_class(name)
    sizes = cls.sizes
    return Card(
        name=name,
        prompt=cls.prompt,
        task_types=list(cls.task_types),
        max_rounds=cls.max_rounds,
        instructions=sizes.instructions,
        eval=sizes.eval,
        agent_traj=sizes.agent_traj,
        agent_traj_l=sizes.agent_traj_l,
        missing=cls.missing(),
    )


def _plain(reply: Reply) -> dict[str, Any]:
    return {name: getattr(reply, name) for name in ("observation", "reward", "terminated", "truncated", "turn", "info")}


def _told(reply: Reply) -> JSONResponse:
    """Built by hand: checking what the server itself has made would cost more than the step."""
    return JSONResponse(_plain(reply))
