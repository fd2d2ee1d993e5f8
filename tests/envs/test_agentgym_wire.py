"""AgentGym's wire: what its clients send and read, field by field, and whole episodes both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from envs import make
from envs.registry import ENVIRONMENTS, environment_class
from envs.remote.client import ServerFailed
from envs.server.agentgym import WIRES, item_id
from tests.envs.served import start, stop

# (base, name of the id, selector, fields of a step's reply), as AgentGym's own client classes have them.
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
    base = CLIENTS[name][0]
    reply = httpx.post(f"{server}/agentgym/{base}/{path}", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.json()


def created(server: str, name: str) -> int:
    made = post(server, name, "create", **({"id": 0} if CLIENTS[name][1:3] == ("env_idx", "id") else {}))
    number = made if isinstance(made, int) else made[CLIENTS[name][1]]
    assert isinstance(made, int) == (CLIENTS[name][1] == "env_idx" and name != "webarena")
    assert isinstance(number, int)
    return number


@pytest.mark.parametrize("name", PLAYABLE)
def test_an_agentgym_client_plays_a_whole_episode(name: str, server: str) -> None:
    _, key, selector, fields = CLIENTS[name]
    number, here = created(server, name), make(name)
    chosen = item_id(name, 3)
    observation, _ = here.reset(options={"item_id": chosen})
    begun = post(server, name, "reset", **{key: number, selector: 3})
    first = begun if isinstance(begun, str) else begun[0] if isinstance(begun, list) else begun["observation"]
    assert observation.endswith(first)
    expert, total = here.expert(), 0.0
    while not here.done:
        thought, action = expert.act(observation)
        whole = key == "env_idx" and name not in ("webshop", "bird")
        said = (
            f"In summary, the next action I will perform is ```{action}```"
            if name == "webarena"
            else f"Thought: {thought}\n\nAction: {action}"
        )
        told = post(server, name, "step", **{key: number, "action": said if whole else action})
        observation, _, terminated, truncated, _ = here.step(action)
        assert set(told) == fields
        assert told.get("observation", told.get("state")) == observation
        assert (told["terminated"] or told["truncated"] if name == "webarena" else told["done"]) == (terminated or truncated)
        total += told["reward"]
    assert total == pytest.approx(here.reward * (100 if name == "sciworld" else 1))
    assert "SELECT" not in str(told.get("info"))
    closed = [post(server, name, "close", **{key: number}) for _ in range(2)]
    assert closed == ([{"closed": "closed"}] * 2 if name == "webarena" else [True, False])
    here.close()


@pytest.mark.parametrize("name", PLAYABLE)
def test_our_client_plays_on_an_agentgym_server(name: str, server: str) -> None:
    here, there = make(name), make(name, server=f"agentgym+{server}/agentgym/{CLIENTS[name][0]}")
    chosen = item_id(name, 2)
    observation, _ = here.reset(options={"item_id": chosen})
    assert there.reset(options={"item_id": chosen})[0] == observation
    expert = here.expert()
    while not here.done:
        action = expert.act(observation)[1]
        observation, reward, *ended = here.step(action)[:4]
        told = there.step(action)
        assert told[0] == observation
        assert told[1] == pytest.approx(reward)
        assert there.done == any(ended)
    assert there.succeeded(there.reward)
    there.close()
    here.close()


@pytest.mark.parametrize("name", ["textcraft", "maze", "alfworld", "babyai"])
def test_errors_of_these_families_are_told_with_status_200(name: str, server: str) -> None:
    assert post(server, name, "step", id=7_777, action="x") == {"error": "The id 7777 is not valid."}
    number = created(server, name)
    assert (
        "error" in post(server, name, "reset", id=number, **{CLIENTS[name][2]: 10**8 if name != "textcraft" else "x"}) or name == "babyai"
    )


def test_what_is_over_is_over(server: str) -> None:
    number = created(server, "maze")
    post(server, "maze", "reset", id=number, game=0)
    told: dict[str, Any] = {"done": False}
    while not told["done"]:
        told = post(server, "maze", "step", id=number, action="move nowhere")
    assert post(server, "maze", "step", id=number, action="move up") == {"error": f"The task with environment {number} has finished."}


def test_wordles_words_can_be_asked_for_before_the_first_reset_and_narrow_down(server: str) -> None:
    number = created(server, "wordle")
    asked = f"{server}/agentgym/lmrlgym/wordle/filtered_vocab?id={number}"
    every = httpx.get(asked).json()
    post(server, "wordle", "reset", id=number, seed=3)
    listed = httpx.get(asked).json()
    assert 10 <= len(listed) <= 40 < len(every)
    assert set(listed) <= set(every)
    post(server, "wordle", "step", id=number, action=listed[0])
    assert set(httpx.get(asked).json()) < set(listed)


def test_webshop_lists_what_can_be_clicked(server: str) -> None:
    number = created(server, "webshop")
    post(server, "webshop", "reset", env_idx=number, session_id=1)
    asked = f"{server}/agentgym/webshop/available_actions?env_idx={number}"
    assert httpx.get(asked).json() == {"has_search_bar": True, "clickables": []}
    post(server, "webshop", "step", env_idx=number, action="search[tea]")
    listed = httpx.get(asked).json()
    assert (listed["has_search_bar"], listed["clickables"][0]) == (False, "Back to Search")
    assert httpx.get(f"{server}/agentgym/webshop/observation?env_idx={number}").json().startswith("Page 1")


def test_an_error_reply_is_a_fault_for_our_client(server: str) -> None:
    there = make("maze", server=f"agentgym+{server}/agentgym/lmrlgym/maze")
    with pytest.raises(ServerFailed, match="no selector for maze_1"):
        there.reset(options={"item_id": "maze_1"})
    there.close()


def test_the_table_has_the_fourteen() -> None:
    assert set(WIRES) == set(CLIENTS)
    assert len(WIRES) == 14
