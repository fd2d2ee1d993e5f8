"""An environment that is played on a server: the same class card, the episode over HTTP.

Invariant: a step is never done twice: it carries its turn, and the server answers one that it has done already with what it said then.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import urllib3

from envs.base import Instruction, Sizes, Step, TextEnv, UnknownItem
from envs.registry import ENVIRONMENTS, UnknownEnvironment, environment_class

_TRIES, _PAUSE, _SECONDS = 4, 0.25, 120.0
_KEPT = 256  # connections that are kept for threads that ask at once
_CARD = ("name", "version", "task_types", "sizes", "max_rounds", "prompt", "lowest_reward", "highest_reward", "succeeded", "parse_action")


class ServerFailed(RuntimeError):
    """The server is not there, refuses, or says that its world failed: a fault, not a failure of the policy."""


class SessionLost(ServerFailed):
    """The server does not know the session (it was idle for too long, or the server was started anew); reset() begins another one."""


class Connection:
    """A server's address with its connections, which are kept; may be used by several threads. The token comes from AGENTEVOL_TOKEN."""

    def __init__(self, url: str, seconds: float = _SECONDS) -> None:
        token = os.environ.get("AGENTEVOL_TOKEN")
        self.url = url.rstrip("/")
        # urllib3 takes a seventh of the time that httpx takes for a request, and a quick step takes less than either.
        self._client = urllib3.PoolManager(
            maxsize=_KEPT,
            retries=False,
            timeout=seconds,
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {}),
        )

    def ask(self, method: str, path: str, body: Any = None, *, again: bool = True) -> Any:
        """The reply's JSON. Sent again when the server is full and, with `again`, when the connection breaks: then what is asked may be
        done twice. Raises ServerFailed, SessionLost, UnknownItem and UnknownEnvironment."""
        for attempt in range(1, _TRIES + 1):
            try:
                reply = self._client.request(method, self.url + path, body=None if body is None else json.dumps(body))
            except urllib3.exceptions.HTTPError as error:
                if attempt == _TRIES or not again:
                    raise ServerFailed(f"{self.url} does not answer: {type(error).__name__}: {error}") from None
            else:
                if reply.status < 400:
                    return json.loads(reply.data) if reply.data else None
                if reply.status != 503 or attempt == _TRIES:
                    raise _refusal(self.url, reply)
            time.sleep(_PAUSE * 2**attempt)
        raise AssertionError("the loop ends by returning or raising")

    def step_many(self, steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Many steps in one request: [{"session", "action" or "answer", "turn"}]. Replies in order, {"status", "error", "kind"} for one
        that failed. Without `turn` in each it is not sent again after a broken connection."""
        again = all(step.get("turn") is not None for step in steps)
        replies: list[dict[str, Any]] = self.ask("POST", "/steps", {"steps": list(steps)}, again=again)
        return replies

    def close(self) -> None:
        self._client.clear()


def connection(url: str) -> Connection:
    """The connection to a server that all environments of this process share."""
    return _connection(url, os.environ.get("AGENTEVOL_TOKEN"), os.getpid())


class RemoteEnv(TextEnv):
    """An environment played on a server; made by `envs.make(name, server=url)`.

    Its card and instructions are those of the registry; the server's, where the registry does not have it.
    """

    def __init__(self, name: str, server: str, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.connection = connection(server)
        self.local = environment_class(name) if name in ENVIRONMENTS else _from_card(self.connection, name)
        for what in (*_CARD, "instructions", "instruction", "catalogue"):
            setattr(self, what, getattr(self.local, what))
        self.waiting: frozenset[str] = getattr(self.local, "waiting", frozenset())
        self.session: str | None = None
        self._actions: list[str] | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        body = {"item_id": (options or {}).get("item_id"), "seed": seed}
        try:
            told = self._begun(body)
        except SessionLost:
            self.session = None
            told = self._begun(body)
        self.item_id, self.rounds, self.reward, self.done = told["info"]["item_id"], 0, 0.0, False
        self._hear(told)
        return told["observation"], told["info"]

    def step(self, action: str) -> Step:
        return self._ask("action", action)

    def answer(self, text: str) -> Step:
        return self._ask("answer", text)

    def available_actions(self) -> list[str] | None:
        return self._actions

    def close(self) -> None:
        session, self.session, self.done = self.session, None, True
        if session is not None:
            with suppress(ServerFailed):  # the server closes it by itself when nobody asks for it
                self.connection.ask("DELETE", f"/sessions/{session}", again=False)

    def _begun(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.session is None:
            self.session = self.connection.ask("POST", "/sessions", {"environment": self.name})["session"]
        told: dict[str, Any] = self.connection.ask("POST", f"/sessions/{self.session}/reset", body)
        return told

    def _ask(self, kind: str, text: str) -> Step:
        if self.done or self.session is None:
            raise RuntimeError(f"{self.name}: the episode is over (or never began); call reset() first")
        told = self.connection.ask("POST", f"/sessions/{self.session}/step", {kind: _sendable(text), "turn": self.rounds})
        self.rounds = told["turn"]
        self.reward += told["reward"]
        self.done = told["terminated"] or told["truncated"]
        self._hear(told)
        return told["observation"], told["reward"], told["terminated"], told["truncated"], told["info"]

    def _hear(self, told: dict[str, Any]) -> None:
        self._observation, self._actions = told["observation"], told["info"].get("available_actions")


@lru_cache(maxsize=None)
def _connection(url: str, token: str | None, process: int) -> Connection:
    """One for each token and, since connections do not survive a fork, each process."""
    return Connection(url)


@lru_cache(maxsize=None)
def _from_card(server: Connection, name: str) -> type[TextEnv]:
    """A class with the card that the server tells; success is a reward of 1."""
    cards = {card["name"]: card for card in server.ask("GET", "/environments")}
    if name not in cards:
        raise UnknownEnvironment(f"unknown environment {name!r}; on {server.url} there are: {', '.join(cards)}")
    card = cards[name]

    def catalogue(cls: type[TextEnv]) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        training, held_out = (
            tuple(Instruction(env=name, **item) for item in server.ask("GET", f"/environments/{name}/instructions?split={split}"))
            for split in ("explore", "eval")
        )
        return training, held_out

    plain = {what: card[what] for what in ("name", "version", "prompt", "max_rounds", "lowest_reward", "highest_reward")}
    sizes = Sizes(card["instructions"], card["eval"], card["agent_traj"], card["agent_traj_l"])
    members = {**plain, "task_types": tuple(card["task_types"]), "sizes": sizes, "catalogue": classmethod(catalogue)}
    return type(f"Remote{name.title()}", (TextEnv,), members)


def _sendable(text: str) -> str:
    """Without halves of surrogate pairs, which JSON's encodings cannot carry; no environment reads them."""
    return text.encode("utf-8", "replace").decode()


def _refusal(url: str, reply: urllib3.BaseHTTPResponse) -> Exception:
    try:
        told = json.loads(reply.data)
        error, kind = str(told["error"]), told.get("kind")
    except (ValueError, KeyError, TypeError):
        error, kind = reply.data.decode("utf-8", "replace"), None
    if kind == "item":
        return UnknownItem(error)
    if kind == "environment":
        return UnknownEnvironment(error)
    return (SessionLost if kind == "session" else ServerFailed)(f"{url} answered {reply.status}: {error[:300]}")
