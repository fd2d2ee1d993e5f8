"""OpenEnv's protocol: any environment for the clients of `openenv-core`, a path per environment, on top of the same sessions.

A client holds a WebSocket, which is one session: it sends reset, step, state and close, and receives an observation, a state or an error
with a code. The package itself is not needed here. Invariant: an error ends the episode at most, never the connection.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from envs.registry import environment_class
from envs.server.schemas import Action, OpenEnvReset
from envs.server.sessions import Session, SessionError, Sessions, StepResult

_CODES = {"full": "CAPACITY_REACHED", "missing": "FACTORY_ERROR", "session": "SESSION_ERROR", "fault": "EXECUTION_ERROR"}


class Observation(BaseModel):
    """The content of an observation message, next to reward and done."""

    text: str
    success: bool
    truncated: bool = Field(description="Whether the round limit ended the episode")
    progress: float | None = Field(None, description="How far the episode has come, from 0 to 1 at success; null without subgoals")
    item_id: str | None = Field(None, description="The instruction")
    available_actions: list[str] | None = None


class State(BaseModel):
    model_config = ConfigDict(extra="allow")

    episode_id: str | None = Field(None, description="As given to reset, else the instruction's id")
    step_count: int = 0


def routes(names: list[str], sessions: Sessions) -> APIRouter:
    """The routes of the given environments, below /openenv."""
    router = APIRouter(prefix="/openenv", tags=["OpenEnv's protocol"])
    for name in names:
        _add_routes(router, name, sessions)
    return router


def _add_routes(router: APIRouter, name: str, sessions: Sessions) -> None:
    @router.websocket(f"/{name}/ws")
    async def connect(socket: WebSocket) -> None:
        await socket.accept()
        await _Connection(name, sessions).serve(socket)

    @router.get(f"/{name}/health")
    def health() -> dict[str, str]:
        return {"status": "unhealthy" if environment_class(name).missing() else "healthy"}

    @router.get(f"/{name}/metadata")
    def metadata() -> dict[str, str]:
        cls = environment_class(name)
        return {"name": name, "description": cls.prompt, "version": str(cls.version)}

    @router.get(f"/{name}/schema")
    async def schema() -> dict[str, Any]:
        return {"action": Action.model_json_schema(), "observation": Observation.model_json_schema(), "state": State.model_json_schema()}


class _Connection:
    """One WebSocket with its session, from the first reset to the end."""

    def __init__(self, name: str, sessions: Sessions) -> None:
        self.name, self.sessions = name, sessions
        self.session: Session | None = None
        self.episode_id: str | None = None

    async def serve(self, socket: WebSocket) -> None:
        try:
            while (message := await socket.receive())["type"] == "websocket.receive":
                reply = await self._handle(message.get("text") or message.get("bytes") or b"")
                if reply is None:
                    await socket.close()
                    return
                await socket.send_text(json.dumps(reply))
        except WebSocketDisconnect:
            pass
        finally:
            if self.session is not None:
                with suppress(SessionError):
                    await self.sessions.close(self.session)

    async def _handle(self, content: str | bytes) -> dict[str, Any] | None:
        """The reply to a message; None to close."""
        try:
            message = json.loads(content)
        except (ValueError, RecursionError):
            return _error("this is not JSON", "INVALID_JSON")
        kind, data = (message.get("type"), message.get("data", {})) if isinstance(message, dict) else (None, None)
        try:
            if kind == "reset":
                return _observation(await self._reset(OpenEnvReset.model_validate(data)))
            if kind == "step":
                return _observation(await self._step(Action.model_validate(data)))
            if kind == "state":
                return {"type": "state", "data": self._state()}
            if kind == "close":
                return None
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, problem['loc'])) or 'data'}: {problem['msg']}" for problem in error.errors()[:5]]
            return _error("; ".join(problems), "VALIDATION_ERROR")
        except SessionError as error:
            return _error(str(error), _CODES.get(error.kind, "VALIDATION_ERROR"))
        return _error("the type of a message is reset, step, state or close", "UNKNOWN_TYPE")

    async def _reset(self, request: OpenEnvReset) -> StepResult:
        if self.session is None or self.session.closed or self.session.id not in self.sessions.open:  # idle sessions are closed
            self.session = await self.sessions.create(self.name)
        result = await self.sessions.reset(self.sessions.get(self.session.id), request.item_id, request.seed)
        self.episode_id = request.episode_id or result.info["item_id"]
        return result

    async def _step(self, request: Action) -> StepResult:
        if self.session is None:
            raise SessionError(409, "there is no episode yet; reset first")
        session = self.sessions.get(self.session.id)
        if request.action is not None:
            return await self.sessions.step(session, "action", request.action)
        return await self.sessions.step(session, "answer", request.answer or "")

    def _state(self) -> dict[str, Any]:
        last = self.session.last if self.session else None
        item_id = last.info["item_id"] if last else None
        state = State(episode_id=self.episode_id, step_count=last.turn if last else 0)
        return state.model_dump() | {"environment": self.name, "item_id": item_id, "prompt": environment_class(self.name).prompt}


def _observation(result: StepResult) -> dict[str, Any]:
    info = result.info
    observation = Observation(
        text=result.observation,
        success=info["success"],
        truncated=result.truncated,
        progress=info.get("progress"),
        item_id=info.get("item_id"),
        available_actions=info.get("available_actions"),
    )
    is_first = result.turn == 0
    data = {
        "observation": observation.model_dump(),
        "reward": None if is_first else result.reward,
        "done": result.terminated or result.truncated,
    }
    return {"type": "observation", "data": data}


def _error(message: str, code: str) -> dict[str, Any]:
    return {"type": "error", "data": {"message": message, "code": code}}
