"""The server as its clients meet it: a real process, real connections, worlds that fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from envs import UnknownItem, make
from envs.registry import ENVIRONMENTS, add, environment_class
from envs.remote.client import Connection, ServerFailed, SessionLost
from tests import ROOT
from tests.envs.served import PLAIN, session, start, step, stop


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    process, url = start("1800", "400", "60")
    yield url
    stop(process)


@pytest.mark.parametrize("name", PLAIN)
def test_an_episode_on_the_server_is_the_embedded_one(name: str, server: str) -> None:
    here, there = make(name), make(name, server=server)
    item_id = environment_class(name).instructions("eval")[0].item_id
    observation, info = here.reset(options={"item_id": item_id})
    assert there.reset(options={"item_id": item_id}) == (observation, info)
    expert = here.expert()
    while not here.done:
        thought, action = expert.act(observation)
        told = here.step(action)
        assert there.answer(f"Thought: {thought}\nAction: {action}") == told
        observation = told[0]
    assert (there.done, there.reward, there.rounds, there.succeeded(there.reward)) == (True, here.reward, here.rounds, True)
    there.close()


def test_cards_and_instructions(server: str) -> None:
    cards = {card["name"]: card for card in httpx.get(f"{server}/environments", timeout=60).json()}
    assert set(cards) == {*ENVIRONMENTS, "faulty"}
    assert "wait1" in make("sciworld", server=server).waiting  # type: ignore[attr-defined]
    assert cards["maze"]["instructions"] == 240
    listed = httpx.get(f"{server}/environments/maze/instructions", params={"split": "train"}, timeout=60).json()
    assert [one["item_id"] for one in listed] == [one.item_id for one in environment_class("maze").instructions("train")]
    assert "/sessions/{key}/step" in httpx.get(f"{server}/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
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
def test_a_clients_mistake_is_told(method: str, path: str, body: object, status: int, told: str, server: str) -> None:
    reply = httpx.request(method, server + path.replace("KEY", session(server)), json=body)
    assert (reply.status_code, told in reply.json()["error"]) == (status, True), reply.text


def test_what_is_no_json_is_told(server: str) -> None:
    for content in (b"", b"{", b"\xff\xfe", b"[" * 10_000):
        reply = httpx.post(f"{server}/sessions", content=content, headers={"content-type": "application/json"})
        assert reply.status_code in (400, 422)


def test_a_session_without_an_episode_or_after_its_end_says_reset(server: str) -> None:
    key = session(server, item_id=None)
    assert "reset it" in step(server, key, action="x").text
    assert httpx.get(f"{server}/sessions/{key}").status_code == 409
    httpx.post(f"{server}/sessions/{key}/reset", json={"item_id": "faulty_0"})
    assert step(server, key, action="win").json()["terminated"]
    assert step(server, key, action="win").status_code == 409
    assert httpx.delete(f"{server}/sessions/{key}").status_code == 204
    assert httpx.get(f"{server}/sessions/{key}").status_code == 404


def test_a_step_that_is_sent_again_is_not_done_again(server: str) -> None:
    key = session(server)
    first = step(server, key, action="abc", turn=0).json()
    assert step(server, key, action="abc", turn=0).json() == first
    assert step(server, key, action="other", turn=0).status_code == 409
    assert step(server, key, action="abc", turn=1).json()["turn"] == 2


def test_a_world_that_raises_ends_its_own_session_with_the_cause(server: str) -> None:
    broken, sound = session(server), session(server)
    reply = step(server, broken, action="raise")
    assert (reply.status_code, "ConnectionError: the world fell over" in reply.text) == (500, True)
    assert "ended with a fault" in step(server, broken, action="x").text
    assert step(server, sound, action="x").status_code == 200
    httpx.post(f"{server}/sessions/{broken}/reset", json={"item_id": "faulty_1"})
    assert step(server, broken, action="x").status_code == 200


def test_a_world_that_hangs_is_given_up_while_the_others_go_on() -> None:
    process, url = start("1800", "10", "1")
    try:
        hanging, sound = session(url), session(url)
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(step, url, hanging, action="hang")
            for turn in range(4):
                assert step(url, sound, action="x").json()["turn"] == turn + 1
            assert reply.result(10).status_code == 504
        assert httpx.get(f"{url}/health").json()["hung"] == 1
        assert "agentevol_step_seconds_count" in httpx.get(f"{url}/metrics").text
    finally:
        stop(process)


def test_a_world_that_was_given_up_is_another_one_after_a_reset() -> None:
    process, url = start("1800", "10", "1")
    try:
        key = session(url)
        assert step(url, key, action="hang").status_code == 504
        assert "ended with a fault" in step(url, key, action="x").text
        assert httpx.post(f"{url}/sessions/{key}/reset", json={"item_id": "faulty_1"}).json()["observation"] == "number 1"
        assert step(url, key, action="x").json()["turn"] == 1
    finally:
        stop(process)


def test_a_slip_inside_a_world_is_not_taken_for_the_clients(server: str) -> None:
    reply = step(server, session(server), action="look up")
    assert (reply.status_code, reply.json()["kind"]) == (500, "fault")
    assert "KeyError" in reply.json()["error"]


def test_a_session_that_was_lost_is_begun_anew_by_the_next_reset(server: str) -> None:
    there = make("maze", server=server)
    first = there.reset(options={"item_id": "maze_1"})
    httpx.delete(f"{server}/sessions/{there.session}")  # type: ignore[attr-defined]
    with pytest.raises(SessionLost, match="create another"):
        there.step("move up")
    assert there.reset(options={"item_id": "maze_1"}) == first
    there.close()


def test_an_environment_that_only_the_server_has_can_be_played() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ONLY_THERE.format(url=(started := start("1800", "10", "60"))[1])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    stop(started[0])
    assert done.stdout.split() == ["faulty_3", "1.0", "True", "2"], done.stderr


ONLY_THERE = """
import envs
world = envs.make("faulty", server="{url}")
item_id = world.instructions("eval")[0].item_id
world.reset(options={{"item_id": "faulty_3"}})
_, reward, ended, _, _ = world.step("win")
print("faulty_3", reward, ended, len(world.instructions("eval")))
"""


def test_many_steps_at_once_keep_their_order_and_one_bad_one_spoils_none(server: str) -> None:
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


def test_256_sessions_at_once(server: str) -> None:
    names = [PLAIN[number % len(PLAIN)] for number in range(256)]
    connection = Connection(server)
    keys = [connection.ask("POST", "/sessions", {"environment": name})["session"] for name in names]
    for number, (key, name) in enumerate(zip(keys, names, strict=True)):
        items = environment_class(name).instructions("eval")
        connection.ask("POST", f"/sessions/{key}/reset", {"item_id": items[number % len(items)].item_id})
    for turn in range(3):
        replies = connection.step_many([{"session": key, "answer": "Action: look around", "turn": turn} for key in keys])
        assert all("observation" in reply for reply in replies)
    for key in keys:
        connection.ask("DELETE", f"/sessions/{key}")


def test_a_server_that_is_not_there_is_a_fault_and_an_unknown_item_is_told(server: str) -> None:
    with pytest.raises(ServerFailed, match="does not answer"):
        make("maze", server="http://127.0.0.1:9").reset()
    with pytest.raises(UnknownItem, match="maze_99999"):
        make("maze", server=server).reset(options={"item_id": "maze_99999"})


def test_a_name_can_be_added_once() -> None:
    add("maze", ENVIRONMENTS["maze"])
    with pytest.raises(ValueError, match="give yours another name"):
        add("maze", "somewhere:Else")
