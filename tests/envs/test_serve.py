"""The server as its clients see it: a real process, real connections, environments that fail."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from envs import UnknownItem, make
from envs.registry import ENVIRONMENTS, add, environment_class
from envs.remote.client import Connection, ServerFailed, SessionLost
from envs.server.sessions import Limits, SessionError, Sessions
from tests import ROOT
from tests.envs.served import PLAIN, session, start, step, stop


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    process, url = start("1800", "400", "60")
    yield url
    stop(process)


@pytest.mark.parametrize("name", PLAIN)
def test_an_episode_on_the_server_is_the_embedded_one(name: str, server: str) -> None:
    local, remote = make(name), make(name, server=server)
    item_id = environment_class(name).instructions("eval")[0].item_id
    observation, info = local.reset(options={"item_id": item_id})
    assert remote.reset(options={"item_id": item_id}) == (observation, info)
    expert = local.expert()
    while not local.done:
        thought, action = expert.act(observation)
        result = local.step(action)
        assert remote.answer(f"Thought: {thought}\nAction: {action}") == result
        observation = result[0]
        assert remote.progress == local.progress
    assert (remote.done, remote.reward, remote.rounds, remote.succeeded(remote.reward)) == (True, local.reward, local.rounds, True)
    remote.close()


def test_cards_and_instructions(server: str) -> None:
    cards = {card["name"]: card for card in httpx.get(f"{server}/environments", timeout=60).json()}
    assert set(cards) == {*ENVIRONMENTS, "faulty"}
    assert "wait1" in make("sciworld", server=server).waiting_actions
    assert cards["maze"]["instructions"] == 240
    assert {name: card["version"] for name, card in cards.items() if name != "faulty"} == {
        name: environment_class(name).version for name in ENVIRONMENTS
    }
    assert make("maze", server=server).version == environment_class("maze").version
    listed = httpx.get(f"{server}/environments/maze/instructions", params={"split": "train"}, timeout=60).json()
    assert [item["item_id"] for item in listed] == [item.item_id for item in environment_class("maze").instructions("train")]
    assert "/sessions/{key}/step" in httpx.get(f"{server}/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/sessions", {"environment": "atlantis"}, 404, "there is no environment"),
        ("POST", "/sessions", {}, 422, "environment"),
        ("POST", "/sessions", {"environment": "faulty", "colour": "red"}, 422, "colour"),
        ("POST", "/sessions/nowhere/reset", {}, 404, "create another"),
        ("POST", "/sessions/nowhere/step", {"action": "x"}, 404, "create another"),
        ("POST", "/sessions/KEY/step", {}, 422, "either action or answer"),
        ("POST", "/sessions/KEY/step", {"action": "a", "answer": "b"}, 422, "either action or answer"),
        ("POST", "/sessions/KEY/step", {"action": 5}, 422, "string"),
        ("POST", "/sessions/KEY/step", {"action": "x" * 200_000}, 422, "100000"),
        ("POST", "/sessions/KEY/step", {"action": "x", "turn": 7}, 409, "turn 7 was given, but the episode is at turn 0"),
        ("POST", "/sessions/KEY/reset", {"item_id": "faulty_99"}, 404, "faulty has no instruction 'faulty_99'"),
        ("POST", "/sessions/KEY/reset", {"seed": -1}, 422, "greater than or equal to 0"),
        ("GET", "/sessions/nowhere", None, 404, "create another"),
        ("DELETE", "/sessions/nowhere", None, 404, "create another"),
        ("GET", "/environments/atlantis/instructions", None, 404, "there are"),
        ("GET", "/environments/maze/instructions?split=all", None, 422, "train"),
        ("POST", "/steps", {"steps": 5}, 422, "array"),
    ],
)
def test_a_clients_mistake_gets_a_message(method: str, path: str, body: object, status: int, message: str, server: str) -> None:
    reply = httpx.request(method, server + path.replace("KEY", session(server)), json=body)
    assert (reply.status_code, message in reply.json()["error"]) == (status, True), reply.text


def test_a_body_that_is_no_json_gets_a_client_error(server: str) -> None:
    for content in (b"", b"{", b"\xff\xfe", b"[" * 10_000):
        reply = httpx.post(f"{server}/sessions", content=content, headers={"content-type": "application/json"})
        assert reply.status_code in (400, 422)


def test_a_session_without_an_episode_or_after_its_end_asks_for_a_reset(server: str) -> None:
    key = session(server, item_id=None)
    assert "reset it" in step(server, key, action="x").text
    assert httpx.get(f"{server}/sessions/{key}").status_code == 409
    httpx.post(f"{server}/sessions/{key}/reset", json={"item_id": "faulty_0"})
    assert step(server, key, action="win").json()["terminated"]
    assert step(server, key, action="win").status_code == 409
    assert httpx.delete(f"{server}/sessions/{key}").status_code == 204
    assert httpx.get(f"{server}/sessions/{key}").status_code == 404


def test_a_step_that_is_sent_again_is_not_carried_out_again(server: str) -> None:
    key = session(server)
    first = step(server, key, action="abc", turn=0).json()
    assert step(server, key, action="abc", turn=0).json() == first
    assert step(server, key, action="other", turn=0).status_code == 409
    assert step(server, key, action="abc", turn=1).json()["turn"] == 2


def test_an_environment_that_raises_ends_its_own_episode_with_the_cause(server: str) -> None:
    broken, healthy = session(server), session(server)
    reply = step(server, broken, action="raise")
    assert (reply.status_code, "ConnectionError: the environment failed" in reply.text) == (500, True)
    assert "an error has ended this episode" in step(server, broken, action="x").text
    assert step(server, healthy, action="x").status_code == 200
    httpx.post(f"{server}/sessions/{broken}/reset", json={"item_id": "faulty_1"})
    assert step(server, broken, action="x").status_code == 200


def test_an_environment_without_room_is_full_and_a_later_reset_works(server: str) -> None:
    other, waiting = session(server), session(server)
    step(server, other, action="fill")
    try:
        reply = httpx.post(f"{server}/sessions/{waiting}/reset", json={"item_id": "faulty_1"})
        assert (reply.status_code, reply.json()["kind"], "retry-after" in reply.headers) == (503, "full", True)
        assert "faulty has no room for another episode: close some" in reply.json()["error"]
        assert "no episode yet" in step(server, waiting, action="x").text
    finally:
        step(server, other, action="empty")
    assert httpx.post(f"{server}/sessions/{waiting}/reset", json={"item_id": "faulty_1"}).json()["observation"] == "number 1"
    assert step(server, waiting, action="x").status_code == 200


@pytest.mark.slow
def test_an_environment_that_hangs_is_abandoned_while_the_others_continue() -> None:
    process, url = start("1800", "10", "1")
    try:
        hanging, healthy = session(url), session(url)
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(step, url, hanging, action="hang")
            for turn in range(4):
                assert step(url, healthy, action="x").json()["turn"] == turn + 1
            assert reply.result(10).status_code == 504
        assert httpx.get(f"{url}/health").json()["hung"] == 1
        assert "agentevol_step_seconds_count" in httpx.get(f"{url}/metrics").text
    finally:
        stop(process)


@pytest.mark.slow
def test_a_reset_replaces_an_abandoned_environment() -> None:
    process, url = start("1800", "10", "1")
    try:
        key = session(url)
        assert step(url, key, action="hang").status_code == 504
        assert "an error has ended this episode" in step(url, key, action="x").text
        assert httpx.post(f"{url}/sessions/{key}/reset", json={"item_id": "faulty_1"}).json()["observation"] == "number 1"
        assert step(url, key, action="x").json()["turn"] == 1
    finally:
        stop(process)


def test_an_abandoned_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> tuple[int, str]:
        sessions = Sessions(Limits(step_seconds=1))
        session = await sessions.create("faulty")
        await sessions.reset(session, "faulty_0", None)
        assert await sessions.read(session, lambda env: env.rounds) == 0
        released = threading.Event()
        session.env.act = lambda action: (str(released.wait(60)), 0.0, False)  # type: ignore[method-assign]
        with pytest.raises(SessionError, match="no answer to step"):
            await sessions.step(session, "action", "x")
        with pytest.raises(SessionError) as error:
            await sessions.read(session, lambda env: pytest.fail("a thread is still running it"))
        released.set()
        await sessions.reset(session, "faulty_0", None)
        assert await sessions.read(session, lambda env: env.rounds) == 0
        await sessions.close_all()
        return error.value.status, str(error.value)

    monkeypatch.setitem(ENVIRONMENTS, "faulty", "tests.envs.faulty:Faulty")
    status, message = asyncio.run(play())
    assert (status, "an error has ended this episode" in message) == (409, True)


def test_a_key_error_inside_an_environment_is_not_the_clients_mistake(server: str) -> None:
    reply = step(server, session(server), action="look up")
    assert (reply.status_code, reply.json()["kind"]) == (500, "fault")
    assert "KeyError" in reply.json()["error"]


def test_the_next_reset_replaces_a_lost_session(server: str) -> None:
    remote = make("maze", server=server)
    first = remote.reset(options={"item_id": "maze_1"})
    httpx.delete(f"{server}/sessions/{remote.session}")  # type: ignore[attr-defined]
    with pytest.raises(SessionLost, match="create another"):
        remote.step("move up")
    assert remote.reset(options={"item_id": "maze_1"}) == first
    remote.close()


@pytest.mark.slow
def test_an_environment_that_only_the_server_has_can_be_played() -> None:
    server, url = start("1800", "10", "60")
    code = PLAY_REMOTE_ONLY.format(url=url)
    client = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    stop(server)
    assert client.stdout.split() == ["faulty_3", "1.0", "True", "2", "1"], client.stderr


PLAY_REMOTE_ONLY = """
import envs
env = envs.make("faulty", server="{url}")
env.reset(options={{"item_id": "faulty_3"}})
_, reward, terminated, _, info = env.step("win")
print(info["item_id"], reward, terminated, len(env.instructions("eval")), env.version)
"""


def test_a_batch_keeps_its_order_and_a_failed_step_does_not_affect_the_others(server: str) -> None:
    keys = [session(server) for _ in range(5)]
    steps = [{"session": key, "action": "x" * number} for number, key in enumerate(keys, 1)]
    steps[2]["session"] = "nowhere"
    steps[3]["action"] = "raise"
    replies = Connection(server).step_many(steps)
    assert [reply.get("observation", reply.get("status")) for reply in replies] == [
        "did 1 characters",
        "did 2 characters",
        404,
        500,
        "did 5 characters",
    ]


@pytest.mark.slow
def test_256_sessions_at_once(server: str) -> None:
    names = [PLAIN[number % len(PLAIN)] for number in range(256)]
    connection = Connection(server)
    keys = [connection.request("POST", "/sessions", {"environment": name})["session"] for name in names]
    for number, (key, name) in enumerate(zip(keys, names, strict=True)):
        items = environment_class(name).instructions("eval")
        connection.request("POST", f"/sessions/{key}/reset", {"item_id": items[number % len(items)].item_id})
    for turn in range(3):
        replies = connection.step_many([{"session": key, "answer": "Action: look around", "turn": turn} for key in keys])
        assert all("observation" in reply for reply in replies)
    for key in keys:
        connection.request("DELETE", f"/sessions/{key}")


def test_a_server_that_does_not_answer_is_an_error_and_an_unknown_item_is_reported(server: str) -> None:
    with pytest.raises(ServerFailed, match="does not answer"):
        make("maze", server="http://127.0.0.1:9").reset()
    with pytest.raises(UnknownItem, match="maze_99999"):
        make("maze", server=server).reset(options={"item_id": "maze_99999"})


def test_a_name_can_be_registered_once() -> None:
    add("maze", ENVIRONMENTS["maze"])
    with pytest.raises(ValueError, match="give yours another name"):
        add("maze", "somewhere:Else")
