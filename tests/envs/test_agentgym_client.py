"""AgentGym's own client classes, unmodified, against the server: whole episodes of all fourteen environments.

Skipped unless its package `agentenv` can be imported: with its folder agentenv/ on PYTHONPATH, and requests and openai installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

import pytest

from envs import make
from envs.protocols.agentgym import PROTOCOLS, TOOL_ENVIRONMENTS, item_id_of
from envs.protocols.agentgym_actions import to_agentgym
from tests.envs.served import start, stop
from tests.envs.test_agentgym_protocol import PLAYABLE

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
OWN_FIRST_TEXT = ("maze", "wordle")  # these clients add a text of their own to the first observation, or replace it
pytestmark = pytest.mark.skipif(find_spec("agentenv") is None, reason="AgentGym's package agentenv cannot be imported")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    process, url = start("1800", "100", "120")
    yield url
    stop(process)


@pytest.mark.parametrize("name", PLAYABLE)
@pytest.mark.parametrize("number", [3, 7])
def test_its_client_plays_the_experts_episode(name: str, number: int, server: str) -> None:
    client = getattr(import_module("agentenv.envs"), CLASSES[name])(f"{server}/agentgym/{PROTOCOLS[name].path}", 100)
    local = make(name)
    observation, _ = local.reset(options={"item_id": item_id_of(name, number)})
    client.reset(number)
    first = client.observe()
    if name == "alfworld":
        first = first.partition("\nAVAILABLE ACTIONS: ")[0]
    if name not in OWN_FIRST_TEXT:
        assert first == observation
    expert, total = local.expert(), 0.0
    while not local.done:
        thought, action = expert.act(observation)
        answer = f"Thought:\n{thought}\n\nAction:\n{action}"
        if name == "webarena":
            answer = f"In summary, the next action I will perform is ```{action}```"
        if name == "bird":
            answer = f"Thought: {thought}\n\nAction: ```sql\n{action}\n```"
        if name in TOOL_ENVIRONMENTS:
            answer = f"Thought: {thought}\n\n{to_agentgym(name, action).text}"
        output = client.step(answer)
        observation, *_ = local.step(action)
        assert output.state == observation
        assert bool(output.done) == local.done
        total = output.reward if name in ("sciworld", "babyai") else total + output.reward  # these two clients give the sum so far
    assert total == pytest.approx(local.reward * (100 if name == "sciworld" else 1))
    if hasattr(client, "close"):
        client.close()
    local.close()
