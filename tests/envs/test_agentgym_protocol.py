"""AgentGym's protocol: what its clients send and read, field by field, and whole episodes in both directions."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from envs import make
from envs.protocols.agentgym import PROTOCOLS, item_id_of
from envs.protocols.agentgym_actions import to_agentgym
from envs.registry import ENVIRONMENTS, environment_class
from envs.remote.client import ServerFailed
from envs.sciworld import jvm
from envs.sciworld.games import games
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
needs_java = pytest.mark.skipif(jvm.missing() is not None, reason=str(jvm.missing()))
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
        answer = f"Thought: {thought}\n\n{to_agentgym(name, action).text}"
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


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("weather", "get_user_current_date with Action Input: {}", "ERROR | TypeError"),
        ("weather", "Thought: hm\nAction: get_user_current_date", "Format error"),
        ("todo", 'Action: finish with Action Input: {"answer": null}', "ERROR | Exception(Parameters"),
        ("maze", "Thought: hm\nAction: move up", "That is not a move"),
        ("bird", "Action: ```sql\nSELECT 1\n```", "No rows"),
    ],
)
def test_a_text_that_agentgyms_server_cannot_parse_is_not_understood_and_costs_a_round(
    name: str, text: str, message: str, server: str
) -> None:
    number, (_, id_field, selector, _) = create(server, name), CLIENTS[name]
    post(server, name, "reset", **{id_field: number, selector: 3})
    reply = post(server, name, "step", **{id_field: number, "action": text})
    assert str(reply.get("observation", reply.get("state"))).startswith(message)
    assert (reply["reward"], reply["done"]) == (0.0, False)


@pytest.mark.parametrize(
    ("name", "path", "fields"),
    [
        ("maze", "detail", {"maze_name": "double_t_maze", "reward": 0.0, "done": False, "deleted": False}),
        ("wordle", "detail", {"done": False, "deleted": False}),
        ("alfworld", "detail", {"world_type": "Text"}),
        ("textcraft", "detail", {"reward": 0.0}),
        pytest.param("sciworld", "detail", {"score": 0.0}, marks=needs_java),
        pytest.param("sciworld", "action_hint", {}, marks=needs_java),
        pytest.param("sciworld", "goals", {}, marks=needs_java),
        pytest.param("sciworld", "state", {"current_moves": 0}, marks=needs_java),
        ("webshop", "state", {"url": ""}),
        ("babyai", "observation", {"score": 0.0, "deleted": False}),
    ],
)
def test_what_agentgyms_servers_show_of_a_session(name: str, path: str, fields: dict[str, Any], server: str) -> None:
    number, (family, id_field, selector, _) = create(server, name), CLIENTS[name]
    url = f"{server}/agentgym/{family}"
    if name == "textcraft":
        assert httpx.get(f"{url}/goal?id={number + 10**6}", timeout=60).json() == {"error": f"The id {number + 10**6} is not valid."}
    reset = post(server, name, "reset", **{id_field: number, selector: 3})
    reply = httpx.get(f"{url}/{path}?{id_field}={number}", timeout=60).json()
    assert fields.items() <= reply.items()
    assert all(len(value) for value in reply.values() if isinstance(value, list))
    if name == "sciworld" and path == "detail":
        assert (reply["task_name"], reply["var_num"]) == (reset["task_name"], reset["var_num"])
        game = games()[3]
        assert (game.task_type, game.variation) == (reset["task_name"], reset["var_num"])


def test_routes_of_agentgyms_servers_for_their_health_lists_and_pictures(server: str) -> None:
    base = f"{server}/agentgym"
    assert httpx.get(f"{base}/textcraft/").json() == "This is environment TextCraft."
    assert httpx.get(f"{base}/weather/").json() == "ok"
    number = create(server, "webshop")
    assert number in httpx.get(f"{base}/webshop/list_envs").json()
    post(server, "webshop", "close", env_idx=number)
    assert number not in httpx.get(f"{base}/webshop/list_envs").json()
    assert httpx.get(f"{base}/lmrlgym/maze/available_actions").json() == ["move left", "move right", "move up", "move down"]
    number = create(server, "babyai")
    assert "no episode" in post(server, "babyai", "render", id=number)["error"]
    post(server, "babyai", "reset", id=number, data_idx=5)
    picture = post(server, "babyai", "render", id=number)
    assert base64.b64decode(picture.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")


def test_resets_of_textcraft_and_wordle_carry_the_id_and_textcraft_shows_its_goal(server: str) -> None:
    for name in ("textcraft", "wordle"):
        number = create(server, name)
        reply = post(server, name, "reset", id=number, **{CLIENTS[name][2]: 3})
        assert reply["id"] == number
    number, local = create(server, "textcraft"), make("textcraft")
    observation, _ = local.reset(options={"item_id": "textcraft_3"})
    post(server, "textcraft", "reset", id=number, data_idx=3)
    goal, commands = (httpx.get(f"{server}/agentgym/textcraft/{path}?id={number}").json() for path in ("goal", "commands"))
    assert observation == f"Crafting commands:\n{commands}\n\nGoal: craft 1 {goal}."
    number = create(server, "webshop")
    page = post(server, "webshop", "reset", env_idx=number, session_id=3)[0]
    text = httpx.get(f"{server}/agentgym/webshop/instruction_text?env_idx={number}").json()
    assert text.removeprefix("Instruction: ") in page


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
    assert all(len(word) == 5 for word in words)
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


def test_a_create_that_fails_leaves_no_session(server: str) -> None:
    before = httpx.get(f"{server}/health").json()["sessions"]
    for _ in range(3):
        reply = httpx.post(f"{server}/agentgym/weather/create", json={"id": 99_999}, timeout=60)
        assert "no instruction" in reply.text
    assert httpx.get(f"{server}/health").json()["sessions"] == before


def test_the_table_has_all_fourteen_environments() -> None:
    assert set(PROTOCOLS) == set(CLIENTS)
    assert len(PROTOCOLS) == 14
