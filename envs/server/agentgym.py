"""AgentGym's protocol, per environment, on top of the same sessions: AgentGym's own clients can play here.

`envs.protocols.agentgym` holds the differences between its environments. Invariant: defects of its servers are not repeated. Sessions can
be closed in every environment, an id is never shared, and BIRD's replies do not carry the gold query. A text that AgentGym's server could
not parse is not understood here either.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import JSONResponse

from envs.base import UnknownItem
from envs.protocols.agentgym import PROTOCOLS, SCIWORLD_SCALE, TOOL_ENVIRONMENTS, AgentGymProtocol, item_id_of
from envs.protocols.agentgym_actions import WHOLE_TEXT_ENVIRONMENTS, Misunderstood, parse_answer
from envs.server.agentgym_views import MAZE_ACTIONS, VIEWS, View, greeting, png_data_url, sciworld_variation
from envs.server.schemas import MAX_TEXT_LENGTH
from envs.server.sessions import Session, SessionError, Sessions, StepResult


def routes(names: list[str], sessions: Sessions) -> APIRouter:
    """The routes of the given environments, below /agentgym."""
    router = APIRouter(prefix="/agentgym", tags=["AgentGym's protocol"])
    for name in names:
        if name in PROTOCOLS:
            _Endpoints(name, PROTOCOLS[name], sessions).add_to(router)
    return router


class _Endpoints:
    """The routes of one environment and its session numbers."""

    def __init__(self, name: str, protocol: AgentGymProtocol, sessions: Sessions) -> None:
        self.name, self.protocol, self.sessions = name, protocol, sessions
        self._session_ids: dict[int, str] = {}
        self._next_number = 0

    def add_to(self, router: APIRouter) -> None:
        base = f"/{self.protocol.path}"
        for path, handler in (("create", self.create), ("reset", self.reset), ("step", self.step), ("close", self.close)):
            router.add_api_route(f"{base}/{path}", self._post_route(handler), methods=["POST"], response_model=None)
        for path, view in VIEWS[self.name].items():
            router.add_api_route(f"{base}/{path}", self._get_route(view), methods=["GET"], response_model=None)
        if self.name == "maze":
            router.add_api_route(f"{base}/available_actions", _constant_route(MAZE_ACTIONS), methods=["GET"], response_model=None)
        if self.name == "babyai":
            router.add_api_route(f"{base}/render", self._post_route(self.render), methods=["POST"], response_model=None)
        if self.protocol.id_field == "env_idx":
            router.add_api_route(f"{base}/list_envs", self._list_route(), methods=["GET"], response_model=None)
        router.add_api_route(f"{base}/", _constant_route(greeting(self.name, self.protocol)), methods=["GET"], response_model=None)

    async def create(self, body: dict[str, Any]) -> Any:
        first_item = self._item_id(_integer(body.get("id") or 0, "id")) if self.name in TOOL_ENVIRONMENTS else None
        session = await self.sessions.create(self.name)
        number, self._next_number = self._next_number, self._next_number + 1
        self._session_ids[number] = session.id
        try:
            return await self._create_reply(number, session, first_item)
        except BaseException:  # the client never gets the number, so it cannot close the session
            del self._session_ids[number]
            with suppress(SessionError):
                await self.sessions.close(session)
            raise

    async def _create_reply(self, number: int, session: Session, first_item: str | None) -> Any:
        """The reply to `create`; in the tool environments and TextCraft, the first episode begins."""
        if self.protocol.id_field == "env_idx":
            if first_item is None:
                return {"env_idx": number} if self.name == "webarena" else number
            await self.sessions.reset(session, first_item, None)
            return number
        if self.name != "textcraft":
            return {"id": number}
        result = await self.sessions.reset(session, self._item_id(0), None)
        return {"id": number, **self._step_reply(session, result)}

    async def reset(self, body: dict[str, Any]) -> Any:
        session, selector = self._session(body), body.get(self.protocol.selector_field)
        item_id = None if selector is None else self._item_id(_integer(selector, self.protocol.selector_field))
        result = await self.sessions.reset(session, item_id, None)
        if self.protocol.reset_reply == "text":
            return result.observation
        if self.protocol.reset_reply == "pair":
            return [result.observation, None]
        reply = self._step_reply(session, result)
        if self.name == "alfworld":
            reply |= {"id": body["id"], "task_type": self._task_type(session)}
            return {field: reply[field] for field in ("id", "observation", "available_actions", "task_type")}
        if self.name == "sciworld":
            task, _, observation = result.observation.partition("\n")
            fields = {"task_name": self._task_type(session), "var_num": sciworld_variation(session), "task_description": task}
            return fields | {"observation": observation, "reward": 0, "score": 0, "deleted": False, "done": False}
        if self.name == "webarena":
            objective = result.observation.partition("\n")[0].removeprefix("OBJECTIVE: ")
            return {"observation": reply["observation"], "sites": [self._site(session)], "object": objective}
        if self.name == "maze":
            return {"observation": reply["observation"]}
        if self.name == "wordle":
            return {"id": body["id"], "observation": reply["observation"]}
        return reply | ({"id": body["id"]} if self.name == "textcraft" else {"deleted": False})

    async def step(self, body: dict[str, Any]) -> Any:
        session, text = self._session(body), body.get("action")
        if not isinstance(text, str):
            raise SessionError(422, "the field action must be text")
        if len(text) > MAX_TEXT_LENGTH:
            raise SessionError(422, f"the field action has more than {MAX_TEXT_LENGTH} characters")
        if session.last is not None and session.env.done:
            raise SessionError(400, f"The task with environment {body[self.protocol.id_field]} has finished.")
        try:
            action = parse_answer(self.name, text) if self.name in WHOLE_TEXT_ENVIRONMENTS else text
        except Misunderstood as error:
            # Text without an action costs a round, as in `TextEnv.answer`.
            result = await self.sessions.step(session, "answer", "")
            session.last = result = replace(result, observation=str(error))
        else:
            result = await self.sessions.step(session, "action", action)
        return self._step_reply(session, result)

    async def close(self, body: dict[str, Any]) -> Any:
        session_id = self._session_ids.pop(_integer(body.get(self.protocol.id_field), self.protocol.id_field), "")
        session = self.sessions.open.get(session_id)
        if session is not None:
            await self.sessions.close(session)
        return {"closed": "closed"} if self.name == "webarena" else session is not None

    async def render(self, body: dict[str, Any]) -> Any:
        session = self._session(body)
        return await self.sessions.read(session, png_data_url)

    def _step_reply(self, session: Session, result: StepResult) -> dict[str, Any]:
        """The reply to a step, with the environment's field names."""
        if self.name == "webarena":
            ending = {"terminated": result.terminated, "truncated": result.truncated}
            return {"observation": result.observation, "reward": result.reward, **ending, "info": {}}
        done = result.terminated or result.truncated
        reply = {self.protocol.observation_field: result.observation, "reward": result.reward, "done": done}
        if self.protocol.has_score:
            scale = SCIWORLD_SCALE if self.name == "sciworld" else 1
            reply |= {"reward": scale * result.reward, "score": scale * session.env.reward}
        if self.name == "alfworld":
            reply["available_actions"] = result.info.get("available_actions", [])
        if self.name in ("webshop", "bird"):
            reply["info"] = None
        return reply

    def _site(self, session: Session) -> str:
        """The kind of site that a WebArena task starts on: the first word of its difficulty."""
        assert session.env.item_id is not None
        return session.env.instruction(session.env.item_id).difficulty.partition(",")[0]

    def _task_type(self, session: Session) -> str:
        assert session.env.item_id is not None
        return session.env.instruction(session.env.item_id).task_type

    def _item_id(self, selector: int) -> str:
        try:
            return item_id_of(self.name, selector)
        except UnknownItem as error:
            raise SessionError(400, str(error)) from None

    def _session(self, body: dict[str, Any]) -> Session:
        number = _integer(body.get(self.protocol.id_field), self.protocol.id_field)
        if number not in self._session_ids:
            raise SessionError(400, f"The id {number} is not valid.")
        return self.sessions.get(self._session_ids[number])

    def _post_route(self, handler: Callable[[dict[str, Any]], Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def route(request: Request, body: dict[str, Any] | None = Body(None)) -> Any:  # noqa: B008  (FastAPI's way)
            return await self._reply_or_error(handler(body or {}))

        return route

    def _get_route(self, view: View) -> Callable[..., Awaitable[Any]]:
        async def route(number: int = Query(alias=self.protocol.id_field)) -> Any:
            async def reply() -> Any:
                session = self._session({self.protocol.id_field: number})
                return await self.sessions.read(session, lambda _: view(session))

            return await self._reply_or_error(reply())

        return route

    def _list_route(self) -> Callable[..., Awaitable[Any]]:
        async def route() -> list[int]:
            return [number for number, session_id in self._session_ids.items() if session_id in self.sessions.open]

        return route

    async def _reply_or_error(self, reply: Awaitable[Any]) -> Any:
        try:
            return JSONResponse(await reply)
        except SessionError as error:
            if self.protocol.errors_have_status_200 and error.status < 500:
                return JSONResponse({"error": str(error)})
            raise


def _constant_route(reply: Any) -> Callable[..., Awaitable[Any]]:
    async def route() -> JSONResponse:
        return JSONResponse(reply)

    return route


def _integer(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise SessionError(422, f"the field {name} must be a whole number")
    return value
