"""An environment that is played on a server: the same card, the episode over HTTP.

Invariant: no step is carried out twice. A step carries its turn, and the server repeats its reply to a step that it has already done.
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
from envs.checks import check_progress, replace_surrogates
from envs.registry import ENVIRONMENTS, VARIANTS, UnknownEnvironment, environment_class

_MAX_ATTEMPTS, _BACKOFF_SECONDS, _TIMEOUT_SECONDS = 4, 0.25, 120.0
_MAX_CONNECTIONS = 256  # idle connections kept for threads that send requests at the same time
CARD = (
    "name",
    "version",
    "task_types",
    "sizes",
    "max_rounds",
    "prompt",
    "lowest_reward",
    "highest_reward",
    "waiting_actions",
    "succeeded",
    "parse_action",
    "functions",
)
"""The attributes of the class that a remote environment has in common with the local one."""


class ServerFailed(RuntimeError):
    """The server does not answer, refuses, or reports that its environment failed: an error, not a failure of the policy."""


class SessionLost(ServerFailed):
    """The server does not know the session (it was idle for too long, or the server was restarted); reset() begins another one."""


class ServerUnavailable(ServerFailed):
    """The server does not answer, or is full: another server may play the episode."""


class Connection:
    """A server's address with its pool of connections; several threads may use it. The token comes from AGENTEVOL_TOKEN."""

    def __init__(self, url: str, timeout: float = _TIMEOUT_SECONDS) -> None:
        token = os.environ.get("AGENTEVOL_TOKEN")
        self.url = url.rstrip("/")
        # urllib3 needs a seventh of httpx's time per request, and a quick step takes less than either.
        self._client = urllib3.PoolManager(
            maxsize=_MAX_CONNECTIONS,
            retries=False,
            timeout=timeout,
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {}),
        )

    def request(self, method: str, path: str, body: Any = None, *, idempotent: bool = True) -> Any:
        """The JSON of the response. A request is repeated if the server is full and, if it is `idempotent`, if the connection breaks.

        Raises ServerFailed, ServerUnavailable, SessionLost, UnknownItem and UnknownEnvironment.
        """
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            try:
                response = self._client.request(method, self.url + path, body=None if body is None else json.dumps(body))
            except urllib3.exceptions.HTTPError as error:
                if attempt == _MAX_ATTEMPTS or not idempotent:
                    raise ServerUnavailable(f"{self.url} does not answer: {type(error).__name__}: {error}") from None
            else:
                if response.status < 400:
                    return json.loads(response.data) if response.data else None
                if response.status != 503 or attempt == _MAX_ATTEMPTS:
                    raise _exception(self.url, response)
            time.sleep(_BACKOFF_SECONDS * 2**attempt)
        raise AssertionError("the loop ends by returning or raising")

    def step_many(self, steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Many steps in one request: [{"session", "action" or "answer", "turn"}].

        Replies are in order; one that failed is {"status", "error", "kind"}. The request is repeated after a broken connection only if
        every step has a `turn`.
        """
        idempotent = all(step.get("turn") is not None for step in steps)
        replies: list[dict[str, Any]] = self.request("POST", "/steps", {"steps": list(steps)}, idempotent=idempotent)
        return replies

    def close(self) -> None:
        self._client.clear()


def connection(url: str) -> Connection:
    """The connection to a server that all environments of this process share."""
    return _connection(url, os.environ.get("AGENTEVOL_TOKEN"), os.getpid())


class RemoteEnv(TextEnv):
    """An environment played on a server; made by `envs.make(name, server=url)`.

    Its card and instructions are those of the registry, or the server's if the registry does not have the environment.
    """

    def __init__(self, name: str, server: str, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.connection = connection(server)
        self.local = environment_class(name) if name in ENVIRONMENTS or name in VARIANTS else _class_from_card(self.connection, name)
        for attribute in (*CARD, "instructions", "instruction", "catalogue"):
            setattr(self, attribute, getattr(self.local, attribute))
        self.session: str | None = None
        self._actions: list[str] | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        body = {"item_id": (options or {}).get("item_id"), "seed": seed}
        try:
            reply = self._post_reset(body)
        except SessionLost:
            self.session = None
            reply = self._post_reset(body)
        self.item_id, self.rounds, self.reward, self.done = reply["info"]["item_id"], 0, 0.0, False
        self._remember(reply)
        return reply["observation"], reply["info"]

    def step(self, action: str) -> Step:
        return self._post_step("action", action)

    def answer(self, text: str) -> Step:
        return self._post_step("answer", text)

    def refuse(self, message: str) -> Step:
        # A text without an action costs a round on the server, too.
        _, reward, terminated, truncated, info = self._post_step("answer", "")
        self._observation = message
        return message, reward, terminated, truncated, info

    def available_actions(self) -> list[str] | None:
        return self._actions

    def close(self) -> None:
        session, self.session, self.done = self.session, None, True
        if session is not None:
            with suppress(ServerFailed):  # the server closes idle sessions by itself
                self.connection.request("DELETE", f"/sessions/{session}", idempotent=False)

    def _post_reset(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.session is None:
            self.session = self.connection.request("POST", "/sessions", {"environment": self.name})["session"]
        reply: dict[str, Any] = self.connection.request("POST", f"/sessions/{self.session}/reset", body)
        return reply

    def _post_step(self, kind: str, text: str) -> Step:
        if self.done or self.session is None:
            raise RuntimeError(f"{self.name}: the episode is over (or never began); call reset() first")
        body = {kind: replace_surrogates(text), "turn": self.rounds}
        reply = self.connection.request("POST", f"/sessions/{self.session}/step", body)
        self.rounds = reply["turn"]
        self.reward += reply["reward"]
        self.done = reply["terminated"] or reply["truncated"]
        self._remember(reply)
        return reply["observation"], reply["reward"], reply["terminated"], reply["truncated"], reply["info"]

    def _remember(self, reply: dict[str, Any]) -> None:
        self._observation, self._actions = reply["observation"], reply["info"].get("available_actions")
        self.progress = check_progress(reply["info"].get("progress"))


@lru_cache(maxsize=None)
def _connection(url: str, token: str | None, process: int) -> Connection:
    """One for each token and, since connections do not survive a fork, each process."""
    return Connection(url)


@lru_cache(maxsize=None)
def _class_from_card(server: Connection, name: str) -> type[TextEnv]:
    """A class with the card that the server sends; success is a reward of 1."""
    cards = {card["name"]: card for card in server.request("GET", "/environments")}
    if name not in cards:
        raise UnknownEnvironment(f"unknown environment {name!r}; on {server.url} there are: {', '.join(cards)}")
    card = cards[name]

    def catalogue(cls: type[TextEnv]) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        training, evaluation = (
            tuple(Instruction(env=name, **item) for item in server.request("GET", f"/environments/{name}/instructions?split={split}"))
            for split in ("explore", "eval")
        )
        return training, evaluation

    members = {attribute: card[attribute] for attribute in ("name", "version", "prompt", "max_rounds", "lowest_reward", "highest_reward")}
    members |= {
        "task_types": tuple(card["task_types"]),
        "sizes": Sizes(card["instructions"], card["eval"], card["agent_traj"], card["agent_traj_l"]),
        "catalogue": classmethod(catalogue),
    }
    return type(f"Remote{name.title()}", (TextEnv,), members)


def _exception(url: str, response: urllib3.BaseHTTPResponse) -> Exception:
    try:
        reply = json.loads(response.data)
        error, kind = str(reply["error"]), reply.get("kind")
    except (ValueError, KeyError, TypeError):
        error, kind = response.data.decode("utf-8", "replace"), None
    if kind == "item":
        return UnknownItem(error)
    if kind == "environment":
        return UnknownEnvironment(error)
    failure = SessionLost if kind == "session" else ServerUnavailable if response.status == 503 else ServerFailed
    return failure(f"{url} answered {response.status}: {error[:300]}")
