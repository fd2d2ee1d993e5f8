"""The server: JSON over HTTP, described by OpenAPI at /docs.

Invariant: a client's mistake gets a 4xx response that says what to do; 5xx means an environment that failed, was slow, or is not
installed, or a server that is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from envs.base import TextEnv
from envs.registry import ENVIRONMENTS, environment_class
from envs.server import agentgym, openenv
from envs.server.access import LocalRequestsOnly, RequireToken
from envs.server.request_limits import LimitBodies
from envs.server.schemas import (
    BatchError,
    BatchRequest,
    BatchStep,
    CreateRequest,
    CreateResponse,
    EnvironmentCard,
    ErrorResponse,
    Health,
    InstructionResponse,
    ResetRequest,
    StepRequest,
    StepResponse,
)
from envs.server.sessions import Limits, SessionError, Sessions, StepResult

_IDLE_CHECK_SECONDS = 5.0
_FAST_PATHS = re.compile(r"/sessions/(?P<session>[^/]+)(?P<suffix>/step|/reset)|/steps")
_FastHandler = tuple[str, type[BaseModel], Callable[[str, Any], Awaitable[Response]]]
_ERRORS: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorResponse, "description": "No such session, instruction or environment"},
    409: {"model": ErrorResponse, "description": "Not at this point of the episode"},
    500: {"model": ErrorResponse, "description": "The environment failed; reset the session"},
    503: {"model": ErrorResponse, "description": "Full; try again after Retry-After"},
    504: {"model": ErrorResponse, "description": "The environment took too long; reset the session"},
}


def make_app(names: list[str] | None = None, limits: Limits = Limits(), token: str | None = None) -> FastAPI:  # noqa: B008
    """The application for the given environments (all of them by default). With a `token`, every request must carry it; without
    one, only requests that are addressed to this machine are answered (envs/server/access.py)."""
    served = sorted(names or ENVIRONMENTS)
    sessions = Sessions(limits)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_close_idle_sessions(sessions))
        yield
        task.cancel()
        await sessions.close_all()

    app = FastAPI(title="AgentEvol environments", version="1", lifespan=lifespan, responses={422: {"model": ErrorResponse}})

    async def do_step(key: str, body: StepRequest) -> JSONResponse:
        return _response(await step_session(key, body))

    async def do_reset(key: str, body: ResetRequest) -> JSONResponse:
        return _response(await sessions.reset(sessions.get(key), body.item_id, body.seed))

    async def do_batch(_: str, body: BatchRequest) -> JSONResponse:
        return JSONResponse(await asyncio.gather(*map(step_in_batch, body.steps)))

    handlers: list[_FastHandler] = [("/step", StepRequest, do_step), ("/reset", ResetRequest, do_reset), ("/steps", BatchRequest, do_batch)]
    app.add_middleware(_FastPath, handlers=handlers, on_error=lambda error: error_response(error))
    app.add_middleware(LimitBodies)
    if token is not None:
        app.add_middleware(RequireToken, token=token)
    else:
        app.add_middleware(LocalRequestsOnly)

    @app.post("/sessions/{key}/step", response_model=StepResponse, responses=_ERRORS)
    async def step(key: str, body: StepRequest) -> JSONResponse:
        """One step of the episode."""
        return await do_step(key, body)

    @app.post("/steps", response_model=list[StepResponse | BatchError])
    async def batch(body: BatchRequest) -> JSONResponse:
        """Many steps at once. The response has an entry for each, in order; a step that fails does not affect the others."""
        return await do_batch("", body)

    @app.post("/sessions", status_code=201, responses={code: _ERRORS[code] for code in (404, 500, 503, 504)})
    async def create(body: CreateRequest) -> CreateResponse:
        """A new session; reset it to begin an episode."""
        session = await sessions.create(_check_served(body.environment, served))
        return CreateResponse(session=session.id, environment=session.environment)

    @app.post("/sessions/{key}/reset", response_model=StepResponse, responses=_ERRORS)
    async def reset(key: str, body: ResetRequest) -> JSONResponse:
        """Begin an episode."""
        return await do_reset(key, body)

    @app.get("/sessions/{key}", response_model=StepResponse, responses={code: _ERRORS[code] for code in (404, 409)})
    async def observe(key: str) -> JSONResponse:
        """The result of the last reset or step."""
        last = sessions.get(key).last
        if last is None:
            raise SessionError(409, "this session has no episode yet; reset it")
        return _response(last)

    @app.delete("/sessions/{key}", status_code=204, responses={404: _ERRORS[404]})
    async def close(key: str) -> None:
        """End a session."""
        await sessions.close(sessions.get(key))

    @app.get("/health")
    async def health() -> Health:
        """Whether the server answers, and the number of its sessions. Needs no token."""
        return Health(status="ok", sessions=len(sessions.open), cap=limits.max_sessions, hung=sessions.workers.abandoned)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        """Metrics in Prometheus' text format."""
        open_sessions = Counter(dict.fromkeys(served, 0))
        open_sessions.update(session.environment for session in sessions.open.values())
        return sessions.metrics.to_prometheus(open_sessions, sessions.workers.abandoned)

    # Not `async`: the first request for an environment generates its instructions, and other requests do not wait for that.
    @app.get("/environments")
    def environments() -> list[EnvironmentCard]:
        """The environments that are served."""
        return [_card(environment_class(name)) for name in served]

    @app.get("/environments/{name}/instructions", responses={404: _ERRORS[404]})
    def instructions(
        name: str, split: Annotated[Literal["train", "train_large", "explore", "eval"], Query()] = "eval"
    ) -> list[InstructionResponse]:
        """The instructions of a split, in its fixed order."""
        return [
            InstructionResponse(item_id=item.item_id, task_type=item.task_type, difficulty=item.difficulty, text=item.text)
            for item in environment_class(_check_served(name, served)).instructions(split)
        ]

    async def step_session(key: str, body: StepRequest) -> StepResult:
        session = sessions.get(key)
        if body.action is not None:
            return await sessions.step(session, "action", body.action, body.turn)
        assert body.answer is not None, "StepRequest has one of the two"
        return await sessions.step(session, "answer", body.answer, body.turn)

    async def step_in_batch(body: BatchStep) -> dict[str, Any]:
        try:
            return _as_json(await step_session(body.session, body))
        except SessionError as error:
            sessions.metrics.error_responses[error.status] += 1
            return {"error": str(error), "kind": error.kind, "status": error.status}

    @app.exception_handler(SessionError)
    async def on_session_error(request: Request, error: SessionError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def on_invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
        return error_json(error.status_code, f"{error.detail}; /docs describes the requests")

    def error_response(error: SessionError | ValidationError | RequestValidationError) -> JSONResponse:
        if isinstance(error, SessionError):
            return error_json(error.status, str(error), error.kind)
        return error_json(422, "; ".join(map(_validation_message, error.errors()[:5])) + "; /docs describes the requests")

    def error_json(status: int, message: str, kind: str = "request") -> JSONResponse:
        sessions.metrics.error_responses[status] += 1
        return JSONResponse({"error": message, "kind": kind}, status, {"Retry-After": "5"} if status == 503 else None)

    app.include_router(agentgym.routes(served, sessions))
    app.include_router(openenv.routes(served, sessions))
    return app


class _FastPath:
    """Handles the requests of every step ahead of FastAPI's routing and validation, which take several times as long as a quick step.

    The application has routes for the same requests, which document them. `handlers`: the end of a path, its request schema, and the
    handler, which is called with the session id and the request.
    """

    def __init__(self, app: ASGIApp, handlers: list[_FastHandler], on_error: Callable[[Any], Response]) -> None:
        self.app, self._on_error = app, on_error
        self._handlers = {suffix: (schema, handler) for suffix, schema, handler in handlers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match = _FAST_PATHS.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if match is None:
            await self.app(scope, receive, send)
            return
        content = (await receive()).get("body", b"")  # LimitBodies passes the body on in one message
        schema, handler = self._handlers[match["suffix"] or "/steps"]
        try:
            response = await handler(match["session"] or "", schema.model_validate_json(content))
        except (SessionError, ValidationError) as error:
            response = self._on_error(error)
        await response(scope, receive, send)


async def _close_idle_sessions(sessions: Sessions) -> None:
    while True:
        await asyncio.sleep(min(_IDLE_CHECK_SECONDS, sessions.limits.idle_seconds / 2))
        await sessions.close_idle()


def _check_served(name: str, served: list[str]) -> str:
    if name not in served:
        raise SessionError(404, f"there is no environment {name[:60]!a} here; there are: {', '.join(served)}", "environment")
    return name


def _card(cls: type[TextEnv]) -> EnvironmentCard:
    sizes = cls.sizes
    return EnvironmentCard(
        name=cls.name,
        version=cls.version,
        prompt=cls.prompt,
        task_types=list(cls.task_types),
        max_rounds=cls.max_rounds,
        lowest_reward=cls.lowest_reward,
        highest_reward=cls.highest_reward,
        instructions=sizes.instructions,
        eval=sizes.eval,
        agent_traj=sizes.agent_traj,
        agent_traj_l=sizes.agent_traj_l,
        missing=cls.missing(),
    )


def _validation_message(error: dict[str, Any]) -> str:
    """In ASCII and short, whatever was given."""
    location: Sequence[Any] = [part for part in error["loc"] if part != "body"]
    given = "" if error["type"] == "missing" else f" (given: {ascii(error.get('input'))[:80]})"
    message = f"{'.'.join(map(str, location)) or 'body'}: {error['msg']}{given}"
    return message.encode("ascii", "backslashreplace").decode()


def _as_json(result: StepResult) -> dict[str, Any]:
    return {
        "observation": result.observation,
        "reward": result.reward,
        "terminated": result.terminated,
        "truncated": result.truncated,
        "turn": result.turn,
        "info": result.info,
    }


def _response(result: StepResult) -> JSONResponse:
    """Not validated: validation of the server's own output would take longer than the step."""
    return JSONResponse(_as_json(result))
