"""AgentGym's own client classes, unmodified, against the server: whole episodes of each of the fourteen.

Skipped unless its package `agentenv` can be imported: with its folder agentenv/ on PYTHONPATH, and requests and openai installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

import pytest

from envs import make
from envs.server.agentgym import WIRES, item_id
from tests.envs.served import start, stop
from tests.envs.test_agentgym_wire import PLAYABLE

CLASSES = {
    "webshop": "WebshopEnvClient",
    "webarena": "WebarenaEnvClient",
    "maze": "MazeEnvClient",
    "wordle": "WordleEnvClient",
    "alfworld": "AlfWorldEnvClient",
    "sciworld": "SciworldEnvClient",
    "babyai": "BabyAIEnvClient",
    "textcraft": "TextCraftEnvClient",
    "weather": "WeatherEnvClient",
    "movie": "MovieEnvClient",
    "academia": "AcademiaEnvClient",
    "sheet": "SheetEnvClient",
    "todo": "TodoEnvClient",
    "bird": "SqlGymEnvClient",
}
OWN_FIRST_TEXT = ("maze", "wordle")  # their clients put a text of their own before it, or in its place
pytestmark = pytest.mark.skipif(find_spec("agentenv") is None, reason="AgentGym's package agentenv cannot be imported")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    process, url = start("1800", "100", "120")
    yield url
    stop(process)


@pytest.mark.parametrize("name", PLAYABLE)
@pytest.mark.parametrize("number", [3, 7])
def test_its_client_plays_the_experts_episode(name: str, number: int, server: str) -> None:
    client = getattr(import_module("agentenv.envs"), CLASSES[name])(f"{server}/agentgym/{WIRES[name].base}", 100)
    here = make(name)
    observation, _ = here.reset(options={"item_id": item_id(name, number)})
    client.reset(number)
    seen = client.observe()
    if name == "alfworld":
        seen = seen.partition("\nAVAILABLE ACTIONS: ")[0]
    if name not in OWN_FIRST_TEXT:
        assert seen == observation
    expert, total = here.expert(), 0.0
    while not here.done:
        thought, action = expert.act(observation)
        said = f"Thought:\n{thought}\n\nAction:\n{action}"
        if name == "webarena":
            said = f"In summary, the next action I will perform is ```{action}```"
        if name == "bird":
            said = f"Thought: {thought}\n\nAction: ```sql\n{action}\n```"
        if name in ("weather", "movie", "academia", "sheet", "todo"):
            said = f"Thought: {thought}\n\nAction: {action}"
        told = client.step(said)
        observation, *_ = here.step(action)
        assert told.state == observation
        assert bool(told.done) == here.done
        total = told.reward if name in ("sciworld", "babyai") else total + told.reward  # these two clients tell the sum so far
    assert total == pytest.approx(here.reward * (100 if name == "sciworld" else 1))
    if hasattr(client, "close"):
        client.close()
    here.close()
