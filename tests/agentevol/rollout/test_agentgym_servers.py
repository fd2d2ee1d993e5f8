"""Episodes on servers that are as strict as AgentGym's: what becomes a reward, and what an error."""

from __future__ import annotations

from typing import Any

import numpy as np

from agentevol.rollout.engine import GenerationResult
from agentevol.rollout.episode import Episode
from envs import Instruction, environment_class
from tests.envs import agentgym_replica as replica


def episode(instruction: Instruction) -> Episode:
    return Episode(index=0, attempt=0, instruction=instruction, sample=0, slot=0, rng=np.random.default_rng(0))


def say(episode: Episode, action: str) -> None:
    episode.step(GenerationResult(slot=0, text=f"Thought: ...\nAction: {action}"))


def test_agentgyms_own_problems_are_played_and_filed_under_their_own_names() -> None:
    weather = environment_class("agentgym-weather").instructions("eval")[0]
    with replica.serve(replica.Weather()) as url:
        played = episode(weather)
        played.start(url)
        assert f"problem {weather.item_id.removeprefix('agentgym-weather_')}\n" in played.messages[0].content
        say(played, 'finish with Action Input: {"answer": 7}')
        assert (played.status, played.env and played.env.reward) == ("finished", 1.0)
        played.close()
    assert played.instruction.item_id.startswith("agentgym-weather_")


class Deaf(replica.Weather):
    def step(self, body: dict[str, Any]) -> Any:
        return super().step({"action": body["action"].removeprefix("Action: ")})


def test_a_server_that_does_not_understand_and_another_problem_are_errors_not_reward_0() -> None:
    with replica.serve(Deaf()) as url:
        deaf = episode(environment_class("agentgym-weather").instructions("eval")[0])
        deaf.start(url)
        say(deaf, "get_user_current_date with Action Input: {}")
        assert deaf.status == "error"
        assert "did not understand" in str(deaf.error)
        deaf.close()
        other = episode(environment_class("weather").instructions("eval")[0])
        other.start(url)
        assert other.status == "error"
        assert "is another problem" in str(other.error)
        other.close()


def test_a_server_that_is_gone_before_close_does_not_spoil_a_finished_episode() -> None:
    with replica.serve(replica.Weather()) as url:
        finished = episode(environment_class("agentgym-weather").instructions("eval")[0])
        finished.start(url)
        say(finished, 'finish with Action Input: {"answer": 7}')
    finished.close()
    assert (finished.status, finished.error) == ("finished", None)
