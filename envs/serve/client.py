"""An environment that is played on a server: the same class card, the episode over HTTP.

Invariant: a step is never done twice: it carries its turn, and the server answers one that it has done already with what it said then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import httpx

from envs.base import Step, TextEnv, UnknownItem
from envs.registry import environment_class

_TRIES, _PAUSE, _SECONDS = 4, 0.25, 120.0


class ServerFailed(RuntimeError):
    """The server is not there, refuses, or says that its world failed: a fault, not a failure of the policy."""


class Connection:
    """A server's address with its connections, which are kept. The token comes from AGENTEVOL_TOKEN."""

    def __init__(self, url: str, seconds: float = _SECONDS) -> None:
        token = os.environ.get("AGENTEVOL_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url = url.rstrip("/")
        self._client = httpx.Client(base_url=self.url, timeout=seconds, headers=headers)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The reply's JSON. Sent again when the connection breaks or the server is full; every request of this client may be. Raises
        ServerFailed and UnknownItem."""
        for attempt in range(1, _TRIES + 1):
            try:
                reply = self._client.request(method, path, json=body)
            except httpx.HTTPError as error:
                if attempt == _TRIES:
                    raise ServerFailed(f"{self.url} does not answer: {type(error).__name__}: {error}") from None
            else:
                if reply.status_code < 400:
                    return reply.json() if reply.content else None
                if reply.status_code != 503 or attempt == _TRIES:
                    raise _refusal(self.url, reply)
            time.sleep(_PAUSE * 2**attempt)
        raise AssertionError("the loop ends by returning or raising")

    def step_many(self, steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Many steps in one request: [{"session", "action" or "answer"}]; replies in order, {"status", "error"} for a failed one."""
        replies: list[dict[str, Any]] = self.ask("POST", "/steps", {"steps": list(steps)})
        return replies

    def close(self) -> None:
        self._client.close()


class RemoteEnv(TextEnv):
    """An environment of the registry, played on a server; made by `envs.make(name, server=url)`."""

    def __init__(self, name: str, server: str, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.local = environment_class(name)
        for what in ("name", "task_types", "sizes", "max_rounds", "prompt", "lowest_reward", "highest_reward", "succeeded", "parse_action"):
            setattr(self, what, getattr(self.local, what))
        self.connection = Connection(server)
        self.session: str | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        if self.session is None:
            self.session = self.connection.ask("POST", "/sessions", {"environment": self.name})["session"]
        item_id = (options or {}).get("item_id")
        told = self.connection.ask("POST", f"/sessions/{self.session}/reset", {"item_id": item_id, "seed": seed})
        self.item_id, self.rounds, self.reward, self.done = told["info"]["item_id"], 0, 0.0, False
        self._observation = told["observation"]
        return told["observation"], told["info"]

    def step(self, action: str) -> Step:
        return self._ask("action", action)

    def answer(self, text: str) -> Step:
        return self._ask("answer", text)

    def close(self) -> None:
        if self.session is not None:
            session, self.session = self.session, None
            self.connection.ask("DELETE", f"/sessions/{session}")
        self.connection.close()

    def _ask(self, kind: str, text: str) -> Step:
        if self.done or self.session is None:
            raise RuntimeError(f"{self.name}: the episode is over (or never began); call reset() first")
        told = self.connection.ask("POST", f"/sessions/{self.session}/step", {kind: _sendable(text), "turn": self.rounds})
        self.rounds, self._observation = told["turn"], told["observation"]
        self.reward += told["reward"]
        self.done = told["terminated"] or told["truncated"]
        return told["observation"], told["reward"], told["terminated"], told["truncated"], told["info"]


def _sendable(text: str) -> str:
    """Without halves of surrogate pairs, which JSON's encodings cannot carry; no environment reads them."""
    return text.encode("utf-8", "replace").decode()


def _refusal(url: str, reply: httpx.Response) -> Exception:
    try:
        told = reply.json().get("error") or reply.text
    except ValueError:
        told = reply.text
    if reply.status_code == 404 and "no instruction" in str(told):
        return UnknownItem(str(told))
    return ServerFailed(f"{url} answered {reply.status_code}: {str(told)[:300]}")
