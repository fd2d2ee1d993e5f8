"""OpenEnv's wire: any environment to the clients of `openenv-core`, a path per environment, on top of the same sessions.

Its clients hold a WebSocket, and that is one session: reset, step, state and close as messages, answered by an observation, a state or an
error with a code. Nothing of that package is needed here. Invariant: an error ends the episode at most, never the connection.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from envs.registry import environment_class
from envs.server.schemas import Action, Begin
from envs.server.sessions import Reply, Session, SessionError, Sessions

_CODES = {"full": "CAPACITY_REACHED", "missing": "FACTORY_ERROR", "session": "SESSION_ERROR", "fault": "EXECUTION_ERROR"}


class Observed(BaseModel):
    """What an observation holds; reward and done stand beside it."""

    text: str
    success: bool
    truncated: bool = Field(description="Whether the round limit ended the episode")
    item_id: str | None = Field(None, description="The instruction")
    available_actions: list[str] | None = None


class State(BaseModel):
    model_config = ConfigDict(extra="allow")

    episode_id: str | None = Field(None, description="As given to reset, else the instruction's id")
    step_count: int = 0


def routes(names: list[str], sessions: Sessions) -> APIRouter:
    """The routes of the given environments, below /openenv."""
    router = APIRouter(prefix="/openenv", tags=["OpenEnv's wire"])
    for name in names:
        _mount(router, name, sessions)
    return router


def _mount(router: APIRouter, name: str, sessions: Sessions) -> None:
    @router.websocket(f"/{name}/ws")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await _Talk(name, sessions).over(socket)

    @router.get(f"/{name}/health")
    def health() -> dict[str, str]:
        return {"status": "unhealthy" if environment_class(name).missing() else "healthy"}

    @router.get(f"/{name}/metadata")
    def metadata() -> dict[str, str]:
        return {"name": name, "description": environment_class(name).prompt, "version": str(environment_class(name).version)}

    @router.get(f"/{name}/schema")
    async def schema() -> dict[str, Any]:
        return {"action": Action.model_json_schema(), "observation": Observed.model_json_schema(), "state": State.model_json_schema()}


class _Talk:
    """One connection: a session from its first reset to its end."""

    def __init__(self, name: str, sessions: Sessions) -> None:
        self.name, self.sessions = name, sessions
        self.session: Session | None = None
        self.episode: str | None = None

    async def over(self, socket: WebSocket) -> None:
        try:
            while (message := await socket.receive())["type"] == "websocket.receive":
                told = await self._answer(message.get("text") or message.get("bytes") or b"")
                if told is None:
                    await socket.close()
                    return
                await socket.send_text(json.dumps(told))
        except WebSocketDisconnect:
            pass
        finally:
            if self.session is not None:
                with suppress(SessionError):
                    await self.sessions.close(self.session)

    async def _answer(self, text: str | bytes) -> dict[str, Any] | None:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return _error("this is no JSON", "INVALID_JSON")
        kind, data = (message.get("type"), message.get("data", {})) if isinstance(message, dict) else (None, None)
        try:
            if kind == "reset":
                return _observed(await self._reset(Begin.model_validate(data)))
            if kind == "step":
                return _observed(await self._step(Action.model_validate(data)))
            if kind == "state":
                return {"type": "state", "data": self._state()}
            if kind == "close":
                return None
        except ValidationError as error:
            return _error(
                "; ".join(f"{'.'.join(map(str, one['loc'])) or 'data'}: {one['msg']}" for one in error.errors()[:5]), "VALIDATION_ERROR"
            )
        except SessionError as error:
            return _error(str(error), _CODES.get(error.kind, "VALIDATION_ERROR"))
        return _error("the type of a message is reset, step, state or close", "UNKNOWN_TYPE")

    async def _reset(self, asked: Begin) -> Reply:
        if (
            self.session is None or self.session.closed or self.session.id not in self.sessions.live
        ):  # closed where it was idle for too long
            self.session = await self.sessions.create(self.name)
        reply = await self.sessions.reset(self.sessions.get(self.session.id), asked.item_id, asked.seed)
        self.episode = asked.episode_id or reply.info["item_id"]
        return reply

    async def _step(self, asked: Action) -> Reply:
        if self.session is None:
            raise SessionError(409, "there is no episode yet; reset first")
        session = self.sessions.get(self.session.id)
        if asked.action is not None:
            return await self.sessions.step(session, "action", asked.action)
        return await self.sessions.step(session, "answer", asked.answer or "")

    def _state(self) -> dict[str, Any]:
        last = self.session.last if self.session else None
        item_id = last.info["item_id"] if last else None
        known = State(episode_id=self.episode, step_count=last.turn if last else 0)
        return known.model_dump() | {"environment": self.name, "item_id": item_id, "prompt": environment_class(self.name).prompt}


def _observed(reply: Reply) -> dict[str, Any]:
    info = reply.info
    seen = Observed(
        text=reply.observation,
        success=info["success"],
        truncated=reply.truncated,
        item_id=info.get("item_id"),
        available_actions=info.get("available_actions"),
    )
    first = reply.turn == 0
    data = {"observation": seen.model_dump(), "reward": None if first else reply.reward, "done": reply.terminated or reply.truncated}
    return {"type": "observation", "data": data}


def _error(message: str, code: str) -> dict[str, Any]:
    return {"type": "error", "data": {"message": message, "code": code}}
