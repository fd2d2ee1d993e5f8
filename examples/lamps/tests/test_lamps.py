"""Lamps keeps the contract of an environment: `python -m pytest` in this folder, with the package installed."""

from __future__ import annotations

import warnings

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from envs import environment_class, make


def test_the_entry_point_is_found() -> None:
    assert environment_class("lamps").__name__ == "Lamps"


def test_gymnasium_accepts_it() -> None:
    env = gymnasium.make("agentevol/Lamps-v0").unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)


def test_sizes_and_splits() -> None:
    cls = environment_class("lamps")
    training, evaluation = cls.instructions("explore"), cls.instructions("eval")
    assert len(training) + len(evaluation) == cls.sizes.instructions
    assert not {item.text for item in training} & {item.text for item in evaluation}
    assert len(cls.instructions("train")) == cls.sizes.agent_traj


@pytest.mark.parametrize("split", ["explore", "eval"])
def test_the_expert_solves_every_instruction(split: str) -> None:
    env = make("lamps")
    for item in env.instructions(split):
        observation, _ = env.reset(options={"item_id": item.item_id})
        expert, info = env.expert(), {"success": False}
        while not env.done:
            thought, action = expert.act(observation)
            assert env.parse_action(f"Thought: {thought}\nAction: {action}") == action
            observation, *_, info = env.step(action)
        assert info["success"]


def test_a_wrong_lamp_turns_all_off_and_nonsense_changes_nothing() -> None:
    env = make("lamps")
    env.reset(options={"item_id": env.instructions("eval")[0].item_id})
    first, second = env.expert().act("")[1], "press nothing"
    assert env.step(first)[0] != "Lamps that are on: none."
    assert env.step(second)[0].startswith("There is no such action.")
    assert env.step(first)[0] == "Lamps that are on: none."
