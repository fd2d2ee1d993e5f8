"""An environment that is played on one of AgentGym's servers, or on this project's server by AgentGym's protocol.

Invariant: an error that such a server sends with status 200 raises ServerFailed; it is never an observation and never reward 0.
"""

from __future__ import annotations

from typing import Any

import httpx

from envs.base import TextEnv
from envs.protocols.agentgym import PROTOCOLS, SCIWORLD_SCALE, AgentGymProtocol, item_id_of
from envs.registry import environment_class
from envs.remote.client import CARD, ServerFailed

_TIMEOUT_SECONDS = 300.0  # the timeout of AgentGym's own clients
_ALFWORLD_GAMES, _MAZE_GAMES = 2_620, 25


class AgentGymEnv(TextEnv):
    """Made by `envs.make(name, server="agentgym+http://host:port")`: the URL that AgentGym's own client of that environment is given.

    The card (prompt, round limit, success rule) is this project's; texts and rewards are the server's. You can only play instructions that
    an AgentGym selector can name: those that `envs.protocols.agentgym.item_id_of` returns.
    """

    def __init__(self, name: str, server: str, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.local, self.protocol = environment_class(name), PROTOCOLS[name]
        for attribute in CARD:
            setattr(self, attribute, getattr(self.local, attribute))
        self.url = server.removeprefix("agentgym+").rstrip("/")
        self._client = httpx.Client(base_url=self.url, timeout=_TIMEOUT_SECONDS)
        self._session: int | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        item_id = (options or {}).get("item_id") or item_id_of(self.name, seed or 0)
        if self._session is None:
            reply = self._post("create", {"id": 0} if self.protocol.reset_reply == "text" else {})
            self._session = reply if isinstance(reply, int) else reply[self.protocol.id_field]
        selector = {self.protocol.selector_field: selector_of(self.name, item_id)}
        reply = self._post("reset", {self.protocol.id_field: self._session} | selector | _extra_reset_fields(self.name))
        self.item_id, self.rounds, self.reward, self.done = item_id, 0, 0.0, False
        self._observation = _first_observation(self.protocol, reply)
        return self._observation, self._info()

    def act(self, action: str) -> tuple[str, float, bool]:
        reply = self._post("step", {self.protocol.id_field: self._session, "action": action})
        try:
            observation, reward, done = str(reply[self.protocol.observation_field]), float(reply["reward"]), _is_done(reply)
        except (KeyError, TypeError, ValueError):
            raise ServerFailed(f"{self.url} answered a step with {str(reply)[:200]}") from None
        return observation, reward / (SCIWORLD_SCALE if self.name == "sciworld" else 1), done

    def available_actions(self) -> list[str] | None:
        return None

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            # Not checked: some of AgentGym's servers have no such route.
            self._client.post("/close", json={self.protocol.id_field: session})
        self._client.close()

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        try:
            response = self._client.post(f"/{path}", json=body)
        except httpx.HTTPError as error:
            raise ServerFailed(f"{self.url} does not answer: {type(error).__name__}: {error}") from None
        if response.status_code != 200:
            raise ServerFailed(f"{self.url} answered {path} with {response.status_code}: {response.text[:300]}")
        reply = response.json()
        if isinstance(reply, dict) and "error" in reply:
            raise ServerFailed(f"{self.url} answered {path} with an error: {str(reply['error'])[:300]}")
        return reply


def selector_of(name: str, item_id: str) -> int:
    """The selector's number of an instruction. Raises ServerFailed for one that AgentGym's servers do not have."""
    if name in ("alfworld", "maze"):
        games = _ALFWORLD_GAMES if name == "alfworld" else _MAZE_GAMES
        selector = next((number for number in range(games) if item_id_of(name, number) == item_id), None)
        if selector is None:
            raise ServerFailed(f"AgentGym's servers have no selector for {item_id}")
        return selector
    return int(item_id.rpartition("_")[2])


def _is_done(reply: Any) -> bool:
    """WebArena's server has two fields where the others have `done`."""
    return bool(reply["terminated"] or reply["truncated"] if "terminated" in reply else reply["done"])


def _extra_reset_fields(name: str) -> dict[str, Any]:
    return {"world_type": "Text"} if name == "alfworld" else {}


def _first_observation(protocol: AgentGymProtocol, reply: Any) -> str:
    if protocol.reset_reply == "text":
        return str(reply)
    if protocol.reset_reply == "pair":
        return str(reply[0])
    task = reply.get("task_description")
    return f"{task}\n{reply['observation']}" if task else str(reply["observation"])
