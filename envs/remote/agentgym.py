"""An environment that is played on one of AgentGym's servers (or on this project's, by AgentGym's wire).

Invariant: an error that such a server tells with status 200 is a fault here, never an observation and never reward 0.
"""

from __future__ import annotations

from typing import Any

import httpx

from envs.base import TextEnv
from envs.registry import environment_class
from envs.remote.client import ServerFailed
from envs.server.agentgym import WIRES, Wire, item_id

_SECONDS = 300.0  # AgentGym's own clients wait as long


class AgentGymEnv(TextEnv):
    """Made by `envs.make(name, server="agentgym+http://host:port")`: the URL that AgentGym's own client of that environment is given.

    The card (prompt, round limit, success rule) is this project's; texts and rewards are the server's. Only what AgentGym's selector can
    name can be played: `item_id` must be one that `envs.server.agentgym.item_id` gives.
    """

    def __init__(self, name: str, server: str, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.local, self.wire = environment_class(name), WIRES[name]
        for what in (
            "name",
            "version",
            "task_types",
            "sizes",
            "max_rounds",
            "prompt",
            "lowest_reward",
            "highest_reward",
            "succeeded",
            "parse_action",
        ):
            setattr(self, what, getattr(self.local, what))
        self.waiting: frozenset[str] = getattr(self.local, "waiting", frozenset())
        self.url = server.removeprefix("agentgym+").rstrip("/")
        self._client = httpx.Client(base_url=self.url, timeout=_SECONDS)
        self._number: int | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        chosen = (options or {}).get("item_id") or item_id(self.name, seed or 0)
        if self._number is None:
            made = self._ask("create", {"id": 0} if self.wire.bare_reset == "text" else {})
            self._number = made if isinstance(made, int) else made[self.wire.key]
        told = self._ask("reset", {self.wire.key: self._number, self.wire.selector: selected(self.name, chosen)} | _more(self.name))
        self.item_id, self.rounds, self.reward, self.done = chosen, 0, 0.0, False
        self._observation = _first(self.wire, told)
        return self._observation, self._info()

    def act(self, action: str) -> tuple[str, float, bool]:
        told = self._ask("step", {self.wire.key: self._number, "action": action})
        try:
            observation, reward, done = str(told[self.wire.observation]), float(told["reward"]), _over(told)
        except (KeyError, TypeError, ValueError):
            raise ServerFailed(f"{self.url} answered a step with {str(told)[:200]}") from None
        return observation, reward / (100 if self.name == "sciworld" else 1), done

    def available_actions(self) -> list[str] | None:
        return None

    def close(self) -> None:
        number, self._number = self._number, None
        if number is not None:
            # Some of AgentGym's servers have no such route, and its own clients do not mind.
            self._client.post("/close", json={self.wire.key: number})
        self._client.close()

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        try:
            reply = self._client.post(f"/{path}", json=body)
        except httpx.HTTPError as error:
            raise ServerFailed(f"{self.url} does not answer: {type(error).__name__}: {error}") from None
        if reply.status_code != 200:
            raise ServerFailed(f"{self.url} answered {path} with {reply.status_code}: {reply.text[:300]}")
        told = reply.json()
        if isinstance(told, dict) and "error" in told:
            raise ServerFailed(f"{self.url} answered {path} with an error: {str(told['error'])[:300]}")
        return told


def selected(name: str, chosen: str) -> int:
    """The selector's number of an instruction. Raises ServerFailed for one that AgentGym's servers do not have."""
    if name in ("alfworld", "maze"):
        most = 2_620 if name == "alfworld" else 25
        found = next((number for number in range(most) if item_id(name, number) == chosen), None)
        if found is None:
            raise ServerFailed(f"AgentGym's servers have no selector for {chosen}")
        return found
    return int(chosen.rpartition("_")[2])


def _over(told: Any) -> bool:
    """WebArena's server tells the two ways of ending apart."""
    return bool(told["terminated"] or told["truncated"] if "terminated" in told else told["done"])


def _more(name: str) -> dict[str, Any]:
    return {"world_type": "Text"} if name == "alfworld" else {}


def _first(wire: Wire, told: Any) -> str:
    if wire.bare_reset == "text":
        return str(told)
    if wire.bare_reset == "pair":
        return str(told[0])
    task = told.get("task_description")
    return f"{task}\n{told['observation']}" if task else str(told["observation"])
