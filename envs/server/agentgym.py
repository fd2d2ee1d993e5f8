"""AgentGym's wire, per environment, on top of the same sessions: what its own clients send and expect.

Its servers have no common schema: ids have two names, selectors seven, observations two, and errors are replies of status 200 in some
families. `WIRES` holds those differences; nothing else of the server knows of them. What is a defect there is not kept: sessions can be
closed in every family, an id is never shared, BIRD's replies do not carry the gold query.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import JSONResponse

from envs.registry import environment_class
from envs.server.sessions import Reply, Session, SessionError, Sessions

_TOOLS = ("weather", "movie", "academia", "sheet", "todo")


@dataclass(frozen=True, slots=True)
class Wire:
    """How a family speaks. `base`: the path below /agentgym that its client is given."""

    selector: str
    base: str
    key: str = "id"
    """The name of the id: `id` or `env_idx`. Families of `env_idx` answer a creation with the bare number."""
    observation: str = "observation"
    score: bool = False
    bare_reset: str = ""
    """How a reset answers where it is no object: `text` or `pair` (the text and null)."""

    @property
    def told_errors(self) -> bool:
        """Whether errors are replies of status 200 with the field `error`."""
        return self.key == "id"


WIRES: dict[str, Wire] = {
    "webshop": Wire("session_id", "webshop", key="env_idx", observation="state", bare_reset="pair"),
    "webarena": Wire("idx", "webarena", key="env_idx"),
    "maze": Wire("game", "lmrlgym/maze"),
    "wordle": Wire("seed", "lmrlgym/wordle"),
    "alfworld": Wire("game", "alfworld"),
    "sciworld": Wire("data_idx", "sciworld", score=True),
    "babyai": Wire("data_idx", "babyai", score=True),
    "textcraft": Wire("data_idx", "textcraft"),
    "bird": Wire("item_id", "bird", key="env_idx", observation="state", bare_reset="pair"),
    **{name: Wire("id", name, key="env_idx", bare_reset="text") for name in _TOOLS},
}


def item_id(name: str, number: int) -> str:
    """The instruction that a selector's number means: the same number in the item id, but for these.

    ALFWorld counts its 2,420 training games first (AgentTraj-L here) and 200 test games after them (AgentEval); MAZE's numbers are starting
    cells of the one maze, with its one goal; TextCraft's wrap.
    """
    cls = environment_class(name)
    if name == "alfworld":
        training, held_out = cls.instructions("train_large"), cls.instructions("eval")
        if 0 <= number < len(training) + len(held_out):
            return (training + held_out)[number].item_id
    if name == "maze":
        from envs.maze import DOUBLE_T, free_cells

        cells = free_cells(DOUBLE_T)
        goal = cells.index((8, 6))
        starts = [start for start in range(len(cells)) if start != goal]
        if not 0 <= number < len(starts):
            raise SessionError(400, f"The game {number} is not valid.")
        return f"maze_{starts[number] * len(cells) + goal}"
    return f"{name}_{number % cls.sizes.instructions if name == 'textcraft' else number}"


def routes(names: list[str], sessions: Sessions) -> APIRouter:
    """The routes of the given environments, below /agentgym."""
    router = APIRouter(prefix="/agentgym", tags=["AgentGym's wire"])
    for name in names:
        if name in WIRES:
            _Family(name, WIRES[name], sessions).mount(router)
    return router


class _Family:
    """The routes of one environment and its running numbers."""

    def __init__(self, name: str, wire: Wire, sessions: Sessions) -> None:
        self.name, self.wire, self.sessions = name, wire, sessions
        self._keys: dict[int, str] = {}
        self._next = 0

    def mount(self, router: APIRouter) -> None:
        at = f"/{self.wire.base}"
        for path, answer in (("create", self.create), ("reset", self.reset), ("step", self.step), ("close", self.close)):
            router.add_api_route(f"{at}/{path}", self._guarded(answer), methods=["POST"], response_model=None)
        looks = {"observation": self.observe, "available_actions": self.available}
        for path, reply in (looks | ({"filtered_vocab": vocabulary} if self.name == "wordle" else {})).items():
            router.add_api_route(f"{at}/{path}", self._looking(reply), methods=["GET"], response_model=None)

    async def create(self, body: dict[str, Any]) -> Any:
        session = await self.sessions.create(self.name)
        number, self._next = self._next, self._next + 1
        self._keys[number] = session.id
        if self.wire.key == "env_idx":
            if self.name not in _TOOLS:
                return {"env_idx": number} if self.name == "webarena" else number
            await self.sessions.reset(session, item_id(self.name, int(body.get("id") or 0)), None)
            return number
        if self.name != "textcraft":
            return {"id": number}
        reply = await self.sessions.reset(session, item_id(self.name, 0), None)
        return {"id": number, **self._reply(session, reply)}

    async def reset(self, body: dict[str, Any]) -> Any:
        session, selected = self._session(body), body.get(self.wire.selector)
        if self.wire.selector == self.wire.key:
            raise AssertionError("a selector and an id of one name")
        chosen = None if selected is None else item_id(self.name, _whole(selected, self.wire.selector))
        reply = await self.sessions.reset(session, chosen, None)
        if self.wire.bare_reset:
            return reply.observation if self.wire.bare_reset == "text" else [reply.observation, None]
        if self.name == "alfworld":
            shown = self._reply(session, reply) | {"id": body["id"], "task_type": self._task_type(session)}
            return {field: shown[field] for field in ("id", "observation", "available_actions", "task_type")}
        if self.name == "sciworld":
            task, _, rest = reply.observation.partition("\n")
            known = {"task_name": self._task_type(session), "var_num": selected or 0, "task_description": task}
            return known | {"observation": rest, "reward": 0, "score": 0, "deleted": False, "done": False}
        told = self._reply(session, reply)
        if self.name == "webarena":
            objective = reply.observation.partition("\n")[0].removeprefix("OBJECTIVE: ")
            return {"observation": told["observation"], "sites": [self._site(session)], "object": objective}
        return (
            {"observation": told["observation"]}
            if self.wire.base.startswith("lmrlgym/")
            else told | ({"deleted": False} if self.wire.score else {})
        )

    async def step(self, body: dict[str, Any]) -> Any:
        session, text = self._session(body), body.get("action")
        if not isinstance(text, str):
            raise SessionError(422, "the field action must be text")
        if session.last is not None and session.env.done:
            raise SessionError(400, f"The task with environment {body[self.wire.key]} has finished.")
        reply = await self.sessions.step(session, "answer" if "Action:" in text or "```" in text else "action", text)
        return self._reply(session, reply)

    async def close(self, body: dict[str, Any]) -> Any:
        key = self._keys.pop(_whole(body.get(self.wire.key), self.wire.key), "")
        session = self.sessions.live.get(key)
        if session is not None:
            await self.sessions.close(session)
        return {"closed": "closed"} if self.name == "webarena" else session is not None

    def observe(self, session: Session) -> Any:
        return session.last.observation if session.last else ""

    def available(self, session: Session) -> Any:
        actions = session.env.available_actions() or []
        if self.name == "webshop":
            clickable = [action.removeprefix("click[").removesuffix("]") for action in actions if action.startswith("click[")]
            return {"has_search_bar": len(clickable) < len(actions), "clickables": clickable}
        return actions

    def _reply(self, session: Session, reply: Reply) -> dict[str, Any]:
        """What a step says, in the family's words."""
        scale = 100 if self.name == "sciworld" else 1
        told = {self.wire.observation: reply.observation, "reward": reply.reward, "done": reply.terminated or reply.truncated}
        if self.wire.score:
            told |= {"reward": scale * reply.reward, "score": scale * session.env.reward}
        if self.name == "alfworld":
            told["available_actions"] = reply.info.get("available_actions", [])
        if self.name in ("webshop", "bird"):
            told["info"] = None
        if self.name == "webarena":
            told = {"observation": reply.observation, "reward": reply.reward, "terminated": reply.terminated, "truncated": reply.truncated}
            told["info"] = {}
        return told

    def _site(self, session: Session) -> str:
        """The kind of site that a WebArena task starts on: the first word of its difficulty."""
        assert session.env.item_id is not None
        return session.env.instruction(session.env.item_id).difficulty.partition(",")[0]

    def _task_type(self, session: Session) -> str:
        assert session.env.item_id is not None
        return session.env.instruction(session.env.item_id).task_type

    def _session(self, body: dict[str, Any]) -> Session:
        number = _whole(body.get(self.wire.key), self.wire.key)
        if number not in self._keys:
            raise SessionError(400, f"The id {number} is not valid.")
        return self.sessions.get(self._keys[number])

    def _guarded(self, answer: Callable[[dict[str, Any]], Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def route(request: Request, body: dict[str, Any] | None = Body(None)) -> Any:  # noqa: B008  (FastAPI's way)
            return await self._told(answer(body or {}))

        return route

    def _looking(self, reply: Callable[[Session], Any]) -> Callable[..., Awaitable[Any]]:
        async def route(number: int = Query(alias=self.wire.key)) -> Any:
            async def found() -> Any:
                return reply(self._session({self.wire.key: number}))

            return await self._told(found())

        return route

    async def _told(self, answer: Awaitable[Any]) -> Any:
        try:
            return JSONResponse(await answer)
        except SessionError as error:
            if self.wire.told_errors and error.status < 500:
                return JSONResponse({"error": str(error)})
            raise


def vocabulary(session: Session) -> list[str]:
    """Wordle's words that may still be hidden; before the first reset all that there are, since its client asks then, and only then."""
    from envs.wordle import Wordle, common_words, is_consistent

    assert isinstance(session.env, Wordle)
    words = [word for word in session.env.words if is_consistent(word, session.env.guesses)] or common_words()
    return [" ".join(word) for word in words]


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise SessionError(422, f"the field {name} must be a whole number")
    return value
