"""The server: JSON over HTTP, described by OpenAPI at /docs.

Invariant: a client's mistake is answered with 4xx and what to do; 5xx is told only of worlds that failed, were slow, or are not there.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
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
from envs.server.schemas import Batch, Card, Create, Created, Failed, Health, Item, OneOf, Refusal, Reset, Said, Step
from envs.server.sessions import Limits, Reply, SessionError, Sessions

_SWEEP_SECONDS = 5.0
_QUICK = re.compile(r"/sessions/(?P<key>[^/]+)(?P<end>/step|/reset)|/steps")
_Answer = tuple[str, type[BaseModel], Callable[[str, Any], Awaitable[Response]]]
_ANSWERS: dict[int | str, dict[str, Any]] = {
    404: {"model": Refusal, "description": "No such session, instruction or environment"},
    409: {"model": Refusal, "description": "Not at this point of the episode"},
    500: {"model": Refusal, "description": "The world failed; reset the session"},
    503: {"model": Refusal, "description": "Full; try again after Retry-After"},
    504: {"model": Refusal, "description": "The world took too long; reset the session"},
}


def make_app(names: list[str] | None = None, limits: Limits = Limits(), token: str | None = None) -> FastAPI:  # noqa: B008
    """The application for the given environments (all of them by default). With a `token`, every request must bear it."""
    offered = sorted(names or ENVIRONMENTS)
    sessions = Sessions(limits)

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep(sessions))
        yield
        sweeping.cancel()
        await sessions.close_all()

    app = FastAPI(title="AgentEvol environments", version="1", lifespan=life, responses={422: {"model": Refusal}})

    async def stepped(key: str, body: Step) -> JSONResponse:
        return _told(await one(key, body))

    async def begun(key: str, body: Reset) -> JSONResponse:
        return _told(await sessions.reset(sessions.get(key), body.item_id, body.seed))

    async def stepped_many(_: str, body: Batch) -> JSONResponse:
        return JSONResponse(await asyncio.gather(*map(one_of_many, body.steps)))

    quick: list[_Answer] = [("/step", Step, stepped), ("/reset", Reset, begun), ("/steps", Batch, stepped_many)]
    app.add_middleware(_Quick, answers=quick, complaint=lambda error: complaint(error))
    if token is not None:
        app.add_middleware(_Guard, token=token)

    @app.post("/sessions/{key}/step", response_model=Said, responses=_ANSWERS)
    async def step(key: str, body: Step) -> JSONResponse:
        """One step of the episode."""
        return await stepped(key, body)

    @app.post("/steps", response_model=list[Said | Failed])
    async def batch(body: Batch) -> JSONResponse:
        """Many steps at once; an entry for each, in order. One that fails spoils no other."""
        return await stepped_many("", body)

    @app.post("/sessions", status_code=201, responses={code: _ANSWERS[code] for code in (404, 500, 503, 504)})
    async def create(body: Create) -> Created:
        """A new session; reset it to begin an episode."""
        session = await sessions.create(_known(body.environment, offered))
        return Created(session=session.id, environment=session.environment)

    @app.post("/sessions/{key}/reset", response_model=Said, responses=_ANSWERS)
    async def reset(key: str, body: Reset) -> JSONResponse:
        """Begin an episode."""
        return await begun(key, body)

    @app.get("/sessions/{key}", response_model=Said, responses={code: _ANSWERS[code] for code in (404, 409)})
    async def observe(key: str) -> JSONResponse:
        """What the session last said."""
        last = sessions.get(key).last
        if last is None:
            raise SessionError(409, "this session has no episode yet; reset it")
        return _told(last)

    @app.delete("/sessions/{key}", status_code=204, responses={404: _ANSWERS[404]})
    async def close(key: str) -> None:
        """End a session."""
        await sessions.close(sessions.get(key))

    @app.get("/health")
    async def health() -> Health:
        """Whether the server answers, and with how many sessions. Needs no token."""
        return Health(status="ok", sessions=len(sessions.live), cap=limits.cap, hung=sessions.workers.given_up)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        """Figures in Prometheus' text form."""
        now = Counter(dict.fromkeys(offered, 0))
        now.update(session.environment for session in sessions.live.values())
        return sessions.figures.text(now, sessions.workers.given_up)

    # Not `async`: the first look at an environment makes its instructions, and the others do not wait for that.
    @app.get("/environments")
    def environments() -> list[Card]:
        """The environments that are served."""
        return [_card(environment_class(name)) for name in offered]

    @app.get("/environments/{name}/instructions", responses={404: _ANSWERS[404]})
    def instructions(name: str, split: Annotated[Literal["train", "train_large", "explore", "eval"], Query()] = "eval") -> list[Item]:
        """The instructions of a split, in its fixed order."""
        return [
            Item(item_id=one.item_id, task_type=one.task_type, difficulty=one.difficulty, text=one.text)
            for one in environment_class(_known(name, offered)).instructions(split)
        ]

    async def one(key: str, body: Step) -> Reply:
        session = sessions.get(key)
        if body.action is not None:
            return await sessions.step(session, "action", body.action, body.turn)
        assert body.answer is not None, "a body has one of the two"
        return await sessions.step(session, "answer", body.answer, body.turn)

    async def one_of_many(body: OneOf) -> dict[str, Any]:
        try:
            return _plain(await one(body.session, body))
        except SessionError as error:
            sessions.figures.errors[error.status] += 1
            return {"error": str(error), "kind": error.kind, "status": error.status}

    @app.exception_handler(SessionError)
    async def refused(request: Request, error: SessionError) -> JSONResponse:
        return complaint(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return complaint(error)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        return refusal(error.status_code, f"{error.detail}; /docs describes the requests")

    def complaint(error: SessionError | ValidationError | RequestValidationError) -> JSONResponse:
        if isinstance(error, SessionError):
            return refusal(error.status, str(error), error.kind)
        return refusal(422, "; ".join(map(_complaint, error.errors()[:5])) + "; /docs describes the requests")

    def refusal(status: int, error: str, kind: str = "request") -> JSONResponse:
        sessions.figures.errors[status] += 1
        return JSONResponse({"error": error, "kind": kind}, status, {"Retry-After": "5"} if status == 503 else None)

    app.include_router(agentgym.routes(offered, sessions))
    app.include_router(openenv.routes(offered, sessions))
    return app


class _Quick:
    """Answers what is asked at every step ahead of FastAPI's routing and checks, which take several times as long as a quick world's step.

    The application has routes for the same requests: they describe them. `answers`: how a path ends, its body, and what answers it with
    the session's key.
    """

    def __init__(self, app: ASGIApp, answers: list[_Answer], complaint: Callable[[Any], Response]) -> None:
        self.app, self._complaint = app, complaint
        self._answers = {end: (body, answer) for end, body, answer in answers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _QUICK.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            await self.app(scope, receive, send)
            return
        raw = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            raw += message.get("body", b"")
            more = message.get("more_body", False)
        body, answer = self._answers[found["end"] or "/steps"]
        try:
            response = await answer(found["key"] or "", body.model_validate_json(raw))
        except (SessionError, ValidationError) as error:
            response = self._complaint(error)
        await response(scope, receive, send)


class _Guard:
    """Lets requests with the token pass. Plain ASGI: a middleware of Starlette's kind costs half of a quick step."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope["path"] != "/health":
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(_secret(given), self._token):
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": 1008})
                    return
                told = {"error": "a token is needed: send the header Authorization: Bearer <token>", "kind": "token"}
                await JSONResponse(told, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _secret(header: bytes) -> bytes:
    """The token in the header: Bearer, or the password of Basic, which is what a client sends to http://any:TOKEN@host."""
    scheme, _, rest = header.partition(b" ")
    if scheme.lower() != b"basic":
        return rest if scheme == b"Bearer" else b""
    try:
        return base64.b64decode(rest, validate=True).partition(b":")[2]
    except ValueError:
        return b""


async def _sweep(sessions: Sessions) -> None:
    while True:
        await asyncio.sleep(min(_SWEEP_SECONDS, sessions.limits.idle / 2))
        await sessions.sweep()


def _known(name: str, offered: list[str]) -> str:
    if name not in offered:
        raise SessionError(404, f"there is no environment {name[:60]!a} here; there are: {', '.join(offered)}", "environment")
    return name


def _card(cls: type[TextEnv]) -> Card:
    sizes = cls.sizes
    return Card(
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


def _complaint(error: dict[str, Any]) -> str:
    """In ASCII and short, whatever was given."""
    place: Sequence[Any] = [part for part in error["loc"] if part != "body"]
    given = "" if error["type"] == "missing" else f" (given: {ascii(error.get('input'))[:80]})"
    told = f"{'.'.join(map(str, place)) or 'body'}: {error['msg']}{given}"
    return told.encode("ascii", "backslashreplace").decode()


def _plain(reply: Reply) -> dict[str, Any]:
    return {
        "observation": reply.observation,
        "reward": reply.reward,
        "terminated": reply.terminated,
        "truncated": reply.truncated,
        "turn": reply.turn,
        "info": reply.info,
    }


def _told(reply: Reply) -> JSONResponse:
    """Built by hand: checking what the server itself has made would cost more than the step."""
    return JSONResponse(_plain(reply))
