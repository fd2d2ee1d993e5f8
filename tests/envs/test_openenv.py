"""OpenEnv's protocol: message by message, and whole episodes with the client of `openenv-core` if it is installed."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from envs import make
from envs.registry import environment_class
from tests.envs.served import PLAIN, start, stop

needs_openenv = pytest.mark.skipif(find_spec("openenv") is None, reason="pip install openenv-core")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    process, url = start("1800", "100", "60")
    yield url
    stop(process)


def open_socket(url: str, name: str, **options: Any) -> ClientConnection:
    return connect(f"{url.replace('http', 'ws')}/openenv/{name}/ws", **options)


def send(socket: ClientConnection, kind: str, **data: object) -> dict[str, Any]:
    socket.send(json.dumps({"type": kind, "data": data}))
    reply: dict[str, Any] = json.loads(socket.recv(20))
    return reply


def test_an_episode_message_by_message(server: str) -> None:
    with open_socket(server, "faulty") as socket:
        assert send(socket, "step", action="x")["data"]["message"] == "there is no episode yet; reset first"
        first = send(socket, "reset", item_id="faulty_3", episode_id="mine", colour="red")["data"]
        assert (first["observation"]["text"], first["reward"], first["done"]) == ("number 3", None, False)
        assert send(socket, "step", answer="Thought: x\nAction: abc")["data"]["observation"]["text"] == "did 3 characters"
        state = send(socket, "state")
        assert (state["type"], state["data"]["episode_id"], state["data"]["step_count"]) == ("state", "mine", 1)
        last = send(socket, "step", action="win", metadata={"a": 1})["data"]
        assert (last["reward"], last["done"], last["observation"]["success"]) == (1.0, True, True)
        assert (first["observation"]["progress"], last["observation"]["progress"]) == (0.0, 1.0)
        assert "reset it" in send(socket, "step", action="win")["data"]["message"]
        assert send(socket, "reset", seed=1)["data"]["observation"]["text"] in ("number 0", "number 1")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{", "INVALID_JSON"),
        ("[" * 5000, "INVALID_JSON"),
        ("5", "UNKNOWN_TYPE"),
        ('{"type": "dance"}', "UNKNOWN_TYPE"),
        ('{"type": "reset", "data": {"seed": -1}}', "VALIDATION_ERROR"),
        ('{"type": "reset", "data": {"item_id": "faulty_99"}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"message": "x"}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"action": "raise"}}', "EXECUTION_ERROR"),
        (b"\xff", "INVALID_JSON"),
    ],
)
def test_a_mistake_or_error_is_reported_and_the_connection_stays_open(server: str, content: str | bytes, code: str) -> None:
    with open_socket(server, "faulty") as socket:
        send(socket, "reset")
        socket.send(content)
        reply = json.loads(socket.recv(20))
        assert (reply["type"], reply["data"]["code"]) == ("error", code)
        assert send(socket, "reset", item_id="faulty_0")["type"] == "observation"


@pytest.mark.slow
def test_a_reset_replaces_a_session_that_was_closed_because_it_was_idle() -> None:
    process, url = start("0.5", "10", "60")
    try:
        with open_socket(url, "maze") as socket:
            send(socket, "reset")
            deadline = time.monotonic() + 20
            while httpx.get(f"{url}/health").json()["sessions"] and time.monotonic() < deadline:
                time.sleep(0.05)
            assert send(socket, "step", action="move up")["data"]["code"] == "SESSION_ERROR"
            assert send(socket, "reset")["type"] == "observation"
    finally:
        stop(process)


@pytest.mark.slow
def test_the_token_is_required_and_a_session_ends_with_its_connection() -> None:
    process, url = start("1800", "1", "60", AGENTEVOL_TOKEN="secret")
    wrong = {"Authorization": f"Basic {base64.b64encode(b'any:wrong').decode()}"}
    right = {"additional_headers": {"Authorization": "Bearer secret"}}
    try:
        for headers in ({}, wrong, {"Authorization": "Basic !"}, {"Authorization": "Bearer wrong"}):
            with pytest.raises(InvalidStatus, match="403"):
                open_socket(url, "maze", additional_headers=headers)
        with open_socket(url.replace("//", "//any:secret@"), "maze") as first, open_socket(url, "maze", **right) as second:
            assert send(first, "reset")["type"] == "observation"
            assert send(second, "reset")["data"]["code"] == "CAPACITY_REACHED"
        deadline = time.monotonic() + 20
        while httpx.get(f"{url}/health").json()["sessions"] and time.monotonic() < deadline:
            time.sleep(0.05)
        with open_socket(url, "maze", **right) as third:
            assert send(third, "reset")["type"] == "observation"
            third.send('{"type": "close"}')
    finally:
        stop(process)


def test_health_metadata_and_schema(server: str) -> None:
    base = f"{server}/openenv/textcraft"
    assert httpx.get(f"{base}/health").json() == {"status": "healthy"}
    assert httpx.get(f"{base}/metadata").json()["name"] == "textcraft"
    assert httpx.get(f"{base}/metadata").json()["version"] == str(environment_class("textcraft").version)
    assert set(httpx.get(f"{base}/schema").json()) == {"action", "observation", "state"}
    with pytest.raises(InvalidStatus):
        open_socket(server, "atlantis")


@needs_openenv
@pytest.mark.parametrize("name", PLAIN)
def test_openenvs_own_client_plays_a_whole_episode(name: str, server: str) -> None:
    from openenv.core.generic_client import GenericEnvClient  # type: ignore[import-not-found]

    local = make(name)
    item_id = environment_class(name).instructions("eval")[0].item_id
    observation, _ = local.reset(options={"item_id": item_id})
    with GenericEnvClient(base_url=f"{server}/openenv/{name}").sync() as remote:
        result = remote.reset(item_id=item_id)
        assert (result.observation["text"], result.done) == (observation, False)
        expert = local.expert()
        while not local.done:
            _, action = expert.act(observation)
            observation, reward, _, _, info = local.step(action)
            result = remote.step({"action": action})
            assert (result.observation["text"], result.reward, result.done) == (observation, reward, local.done)
            assert result.observation["available_actions"] == info.get("available_actions")
        assert result.observation["success"]
        assert remote.state()["step_count"] == local.rounds
        with pytest.raises(RuntimeError, match="VALIDATION_ERROR"):
            remote.reset(item_id="atlantis_1")
    local.close()
