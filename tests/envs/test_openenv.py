"""OpenEnv's wire: message by message, and whole episodes by the client of `openenv-core` where that is installed."""

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


def dial(url: str, name: str, **options: Any) -> ClientConnection:
    return connect(f"{url.replace('http', 'ws')}/openenv/{name}/ws", **options)


def say(socket: ClientConnection, kind: str, **data: object) -> dict[str, Any]:
    socket.send(json.dumps({"type": kind, "data": data}))
    told: dict[str, Any] = json.loads(socket.recv(20))
    return told


def test_an_episode_message_by_message(server: str) -> None:
    with dial(server, "faulty") as socket:
        assert say(socket, "step", action="x")["data"]["message"] == "there is no episode yet; reset first"
        first = say(socket, "reset", item_id="faulty_3", episode_id="mine", colour="red")["data"]
        assert (first["observation"]["text"], first["reward"], first["done"]) == ("number 3", None, False)
        assert say(socket, "step", answer="Thought: x\nAction: abc")["data"]["observation"]["text"] == "did 3 characters"
        state = say(socket, "state")
        assert (state["type"], state["data"]["episode_id"], state["data"]["step_count"]) == ("state", "mine", 1)
        last = say(socket, "step", action="win", metadata={"a": 1})["data"]
        assert (last["reward"], last["done"], last["observation"]["success"]) == (1.0, True, True)
        assert "reset it" in say(socket, "step", action="win")["data"]["message"]
        assert say(socket, "reset", seed=1)["data"]["observation"]["text"] in ("number 0", "number 1")


@pytest.mark.parametrize(
    ("sent", "code"),
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
def test_a_mistake_or_fault_is_told_and_the_connection_goes_on(server: str, sent: str | bytes, code: str) -> None:
    with dial(server, "faulty") as socket:
        say(socket, "reset")
        socket.send(sent)
        told = json.loads(socket.recv(20))
        assert (told["type"], told["data"]["code"]) == ("error", code)
        assert say(socket, "reset", item_id="faulty_0")["type"] == "observation"


def test_a_session_that_was_idle_for_too_long_is_begun_anew_by_a_reset() -> None:
    process, url = start("0.5", "10", "60")
    try:
        with dial(url, "maze") as socket:
            say(socket, "reset")
            deadline = time.monotonic() + 20
            while httpx.get(f"{url}/health").json()["sessions"] and time.monotonic() < deadline:
                time.sleep(0.05)
            assert say(socket, "step", action="move up")["data"]["code"] == "SESSION_ERROR"
            assert say(socket, "reset")["type"] == "observation"
    finally:
        stop(process)


def test_a_token_is_asked_for_and_a_session_ends_with_its_connection() -> None:
    process, url = start("1800", "1", "60", AGENTEVOL_TOKEN="secret")
    wrong = {"Authorization": f"Basic {base64.b64encode(b'any:wrong').decode()}"}
    right = {"additional_headers": {"Authorization": "Bearer secret"}}
    try:
        for headers in ({}, wrong, {"Authorization": "Basic !"}, {"Authorization": "Bearer wrong"}):
            with pytest.raises(InvalidStatus, match="403"):
                dial(url, "maze", additional_headers=headers)
        with dial(url.replace("//", "//any:secret@"), "maze") as first, dial(url, "maze", **right) as second:
            assert say(first, "reset")["type"] == "observation"
            assert say(second, "reset")["data"]["code"] == "CAPACITY_REACHED"
        deadline = time.monotonic() + 20
        while httpx.get(f"{url}/health").json()["sessions"] and time.monotonic() < deadline:
            time.sleep(0.05)
        with dial(url, "maze", **right) as third:
            assert say(third, "reset")["type"] == "observation"
            third.send('{"type": "close"}')
    finally:
        stop(process)


def test_what_else_is_there(server: str) -> None:
    base = f"{server}/openenv/textcraft"
    assert httpx.get(f"{base}/health").json() == {"status": "healthy"}
    assert httpx.get(f"{base}/metadata").json()["name"] == "textcraft"
    assert set(httpx.get(f"{base}/schema").json()) == {"action", "observation", "state"}
    with pytest.raises(InvalidStatus):
        dial(server, "atlantis")


@needs_openenv
@pytest.mark.parametrize("name", PLAIN)
def test_openenvs_own_client_plays_a_whole_episode(name: str, server: str) -> None:
    from openenv.core.generic_client import GenericEnvClient  # type: ignore[import-not-found]

    here = make(name)
    item_id = environment_class(name).instructions("eval")[0].item_id
    observation, _ = here.reset(options={"item_id": item_id})
    with GenericEnvClient(base_url=f"{server}/openenv/{name}").sync() as there:
        told = there.reset(item_id=item_id)
        assert (told.observation["text"], told.done) == (observation, False)
        expert = here.expert()
        while not here.done:
            _, action = expert.act(observation)
            observation, reward, _, _, info = here.step(action)
            told = there.step({"action": action})
            assert (told.observation["text"], told.reward, told.done) == (observation, reward, here.done)
            assert told.observation["available_actions"] == info.get("available_actions")
        assert told.observation["success"]
        assert there.state()["step_count"] == here.rounds
        with pytest.raises(RuntimeError, match="VALIDATION_ERROR"):
            there.reset(item_id="atlantis_1")
    here.close()
