"""BabyAI's expert: the missions that it reads, what it knows, what it thinks, and the order of its subgoals."""

from __future__ import annotations

import re

import pytest

from envs.babyai import BabyAI
from envs.babyai.mission import parse_mission
from tests.envs.babyai_episodes import item, play


def test_the_expert_gets_the_key_out_of_a_box() -> None:
    env = BabyAI()
    actions = [action for _, _, action in play(env, item("KeyInBox", 0)["item_id"])]
    assert "toggle" in actions
    assert env.succeeded(env.reward)


def test_missions_are_parsed_into_groups_in_order() -> None:
    def texts(mission: str) -> list[list[str]]:
        return [[subgoal.text for subgoal in group] for group in parse_mission(mission)]

    assert texts("open a door, then go to the red ball") == [["open a door"], ["go to the red ball"]]
    assert texts("go to a key after you open the door and pick up an object") == [["open the door", "pick up an object"], ["go to a key"]]
    (put,) = parse_mission("put the red box on your left next to a door behind you")[0]
    assert put.next_to is not None
    assert (put.target.color, put.target.kind, put.target.location) == ("red", "box", "left")
    assert (put.next_to.color, put.next_to.kind, put.next_to.location) == (None, "door", "behind")
    with pytest.raises(ValueError, match="dance"):
        parse_mission("dance")


def test_thoughts_are_short_and_name_what_the_observation_names() -> None:
    lengths = []
    for instruction in BabyAI.instructions("train")[::16]:
        for observation, thought, action in play(BabyAI(), instruction.item_id):
            assert thought.startswith("I must ")
            lengths.append(len(thought.split()))
            for label in re.findall(r"I see ([a-z ]+ \d+)", thought):
                assert f"There is a {label} " in observation
            assert action in observation.splitlines()[-1]
    assert max(lengths) <= 45
    assert sum(lengths) / len(lengths) <= 25


def test_the_expert_knows_only_what_it_has_seen() -> None:
    env = BabyAI()
    for level, seed in (("GoToObjMazeS7", 1), ("KeyCorridorS6R3", 3), ("BossLevel", 2), ("FindObjS7", 4)):
        observation, _ = env.reset(options=item(level, seed))
        decision = env.expert().act(observation)
        for x in range(env.minigrid_env.width):
            for y in range(env.minigrid_env.height):
                if not env.minigrid_env.in_view(x, y):
                    env.minigrid_env.grid.set(x, y, None)
        assert env.expert().act(observation) == decision


def test_several_subgoals_are_pursued_in_order() -> None:
    env = BabyAI()
    item_id = next(instruction.item_id for instruction in BabyAI.instructions("explore") if instruction.task_type == "MoveTwoAcrossS8N9")
    thoughts = [thought for _, thought, _ in play(env, item_id)]
    assert env.succeeded(env.reward)
    subgoals = [thought.split(".")[0] for thought in thoughts]
    assert len(dict.fromkeys(subgoals)) == 2
    assert subgoals == sorted(subgoals, key=list(dict.fromkeys(subgoals)).index)
