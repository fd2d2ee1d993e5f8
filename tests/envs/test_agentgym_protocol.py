"""AgentGym's protocol: what its clients send and read, field by field, and whole episodes in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from envs import make
from envs.protocols.agentgym import PROTOCOLS, item_id_of
from envs.registry import ENVIRONMENTS, environment_class
from envs.remote.client import ServerFailed
from tests.envs.served import start, stop

# (path, field of the session id, field of the selector, fields of a step's reply), as in AgentGym's own client classes.
CLIENTS = {
    "webshop": ("webshop", "env_idx", "session_id", {"state", "reward", "done", "info"}),
    "webarena": ("webarena", "env_idx", "idx", {"observation", "reward", "terminated", "truncated", "info"}),
    "maze": ("lmrlgym/maze", "id", "game", {"observation", "reward", "done"}),
    "wordle": ("lmrlgym/wordle", "id", "seed", {"observation", "reward", "done"}),
    "alfworld": ("alfworld", "id", "game", {"observation", "reward", "available_actions", "done"}),
    "sciworld": ("sciworld", "id", "data_idx", {"observation", "reward", "score", "done"}),
    "babyai": ("babyai", "id", "data_idx", {"observation", "reward", "score", "done"}),
    "textcraft": ("textcraft", "id", "data_idx", {"observation", "reward", "done"}),
    "weather": ("weather", "env_idx", "id", {"observation", "reward", "done"}),
    "movie": ("movie", "env_idx", "id", {"observation", "reward", "done"}),
    "academia": ("academia", "env_idx", "id", {"observation", "reward", "done"}),
    "sheet": ("sheet", "env_idx", "id", {"observation", "reward", "done"}),
    "todo": ("todo", "env_idx", "id", {"observation", "reward", "done"}),
    "bird": ("bird", "env_idx", "item_id", {"state", "reward", "done", "info"}),
}
PLAYABLE = sorted(name for name in CLIENTS if name in ENVIRONMENTS and environment_class(name).missing() is None)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    process, url = start("1800", "100", "60")
    yield url
    stop(process)


def post(server: str, name: str, path: str, **body: Any) -> Any:
    response = httpx.post(f"{server}/agentgym/{CLIENTS[name][0]}/{path}", json=body, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()


def create(server: str, name: str) -> int:
    reply = post(server, name, "create", **({"id": 0} if CLIENTS[name][1:3] == ("env_idx", "id") else {}))
    number = reply if isinstance(reply, int) else reply[CLIENTS[name][1]]
    assert isinstance(reply, int) == (CLIENTS[name][1] == "env_idx" and name != "webarena")
    assert isinstance(number, int)
    return number


@pytest.mark.parametrize("name", PLAYABLE)
def test_an_agentgym_client_plays_a_whole_episode(name: str, server: str) -> None:
    _, id_field, selector, fields = CLIENTS[name]
    number, local = create(server, name), make(name)
    observation, _ = local.reset(options={"item_id": item_id_of(name, 3)})
    reply = post(server, name, "reset", **{id_field: number, selector: 3})
    first = reply if isinstance(reply, str) else reply[0] if isinstance(reply, list) else reply["observation"]
    assert observation.endswith(first)
    expert, total = local.expert(), 0.0
    sends_whole_answer = id_field == "env_idx" and name not in ("webshop", "bird")
    while not local.done:
        thought, action = expert.act(observation)
        answer = f"Thought: {thought}\n\nAction: {action}"
        if name == "webarena":
            answer = f"In summary, the next action I will perform is ```{action}```"
        reply = post(server, name, "step", **{id_field: number, "action": answer if sends_whole_answer else action})
        observation, _, terminated, truncated, _ = local.step(action)
        assert set(reply) == fields
        assert reply.get("observation", reply.get("state")) == observation
        assert (reply["terminated"] or reply["truncated"] if name == "webarena" else reply["done"]) == (terminated or truncated)
        total += reply["reward"]
    assert total == pytest.approx(local.reward * (100 if name == "sciworld" else 1))
    assert "SELECT" not in str(reply.get("info"))
    closed = [post(server, name, "close", **{id_field: number}) for _ in range(2)]
    assert closed == ([{"closed": "closed"}] * 2 if name == "webarena" else [True, False])
    local.close()


@pytest.mark.parametrize("name", PLAYABLE)
def test_our_client_plays_on_an_agentgym_server(name: str, server: str) -> None:
    local, remote = make(name), make(name, server=f"agentgym+{server}/agentgym/{CLIENTS[name][0]}")
    item_id = item_id_of(name, 2)
    observation, _ = local.reset(options={"item_id": item_id})
    assert remote.reset(options={"item_id": item_id})[0] == observation
    expert = local.expert()
    while not local.done:
        action = expert.act(observation)[1]
        observation, reward, *ended = local.step(action)[:4]
        remote_observation, remote_reward, *_ = remote.step(action)
        assert remote_observation == observation
        assert remote_reward == pytest.approx(reward)
        assert remote.done == any(ended)
    assert remote.succeeded(remote.reward)
    remote.close()
    local.close()


@pytest.mark.parametrize(
    ("name", "selector", "message"),
    [
        ("textcraft", "x", "the field data_idx must be a whole number"),
        ("maze", 10**8, "The game 100000000 is not valid."),
        ("alfworld", 10**8, "alfworld has no instruction 'alfworld_100000000'"),
        ("babyai", -1, "babyai has no instruction 'babyai_-1'"),
    ],
)
def test_these_servers_send_errors_with_status_200(name: str, selector: object, message: str, server: str) -> None:
    assert post(server, name, "step", id=7_777, action="x") == {"error": "The id 7777 is not valid."}
    reply = post(server, name, "reset", id=create(server, name), **{CLIENTS[name][2]: selector})
    assert list(reply) == ["error"]
    assert reply["error"].startswith(message)


def test_babyai_has_an_episode_for_every_whole_number(server: str) -> None:
    reply = post(server, "babyai", "reset", id=create(server, "babyai"), data_idx=10**8)
    observation, _ = make("babyai").reset(options={"item_id": "babyai_100000000"})
    assert reply == {"observation": observation, "reward": 0.0, "score": 0.0, "done": False, "deleted": False}


def test_a_finished_episode_takes_no_step(server: str) -> None:
    number = create(server, "maze")
    post(server, "maze", "reset", id=number, game=0)
    reply: dict[str, Any] = {"done": False}
    while not reply["done"]:
        reply = post(server, "maze", "step", id=number, action="move nowhere")
    assert post(server, "maze", "step", id=number, action="move up") == {"error": f"The task with environment {number} has finished."}


def test_wordles_vocabulary_can_be_read_before_the_first_reset_and_shrinks(server: str) -> None:
    number = create(server, "wordle")
    url = f"{server}/agentgym/lmrlgym/wordle/filtered_vocab?id={number}"
    all_words = httpx.get(url).json()
    post(server, "wordle", "reset", id=number, seed=3)
    words = httpx.get(url).json()
    assert 10 <= len(words) <= 40 < len(all_words)
    assert set(words) <= set(all_words)
    post(server, "wordle", "step", id=number, action=words[0])
    assert set(httpx.get(url).json()) < set(words)


def test_webshop_lists_what_can_be_clicked(server: str) -> None:
    number = create(server, "webshop")
    post(server, "webshop", "reset", env_idx=number, session_id=1)
    url = f"{server}/agentgym/webshop/available_actions?env_idx={number}"
    assert httpx.get(url).json() == {"has_search_bar": True, "clickables": []}
    post(server, "webshop", "step", env_idx=number, action="search[tea]")
    actions = httpx.get(url).json()
    assert (actions["has_search_bar"], actions["clickables"][0]) == (False, "Back to Search")
    assert httpx.get(f"{server}/agentgym/webshop/observation?env_idx={number}").json().startswith("Page 1")


def test_an_error_reply_is_an_error_for_our_client(server: str) -> None:
    remote = make("maze", server=f"agentgym+{server}/agentgym/lmrlgym/maze")
    with pytest.raises(ServerFailed, match="no selector for maze_1"):
        remote.reset(options={"item_id": "maze_1"})
    remote.close()


def test_the_table_has_all_fourteen_environments() -> None:
    assert set(PROTOCOLS) == set(CLIENTS)
    assert len(PROTOCOLS) == 14
