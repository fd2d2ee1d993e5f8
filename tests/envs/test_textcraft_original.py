"""TextCraft in AgentGym's setting: its goals, lists, tags and wording; `textcraft` and the lists of all environments stay without it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from gymnasium.utils.env_checker import check_env

from agentevol.data.experts import collect
from agentevol.settings.environments import check_known_environments
from envs import ENVIRONMENTS, UnknownItem, environment_class, make
from envs.registry import add, registered_environments
from envs.textcraft.original import OriginalTextCraft
from envs.textcraft.planner import count_rounds
from envs.textcraft.tags import TAGS, tagged_recipes
from tests.envs import golden

NAME = "textcraft-original"


def started(goal: str) -> OriginalTextCraft:
    env = OriginalTextCraft()
    env.reset(options={"item_id": f"{NAME}_{env.book.goals.index(goal)}"})
    return env


def commands_for(item: str) -> list[str]:
    return [str(recipe) for recipe in tagged_recipes() if recipe.output == item]


def test_it_has_agentgyms_goals() -> None:
    book = OriginalTextCraft().book
    assert Counter(map(book.depth, book.goals)) == {1: 125, 2: 291, 3: 117, 4: 11}  # as its server has them
    training, held_out = OriginalTextCraft.catalogue()
    assert (len(training), len(held_out)) == (444, 100)
    assert {"quartz stairs", "iron nugget", "wheat"}.isdisjoint(book.goals)


@pytest.mark.parametrize(
    ("item", "commands"),
    [
        ("iron ingot", ["craft 1 iron ingot using 9 iron nugget"]),
        ("gold ingot", ["craft 1 gold ingot using 9 gold nugget"]),
        ("white wool", ["craft 1 white wool using 4 string"]),
        ("chest", ["craft 1 chest using 8 planks"]),
        ("stick", ["craft 4 stick using 2 planks", "craft 1 stick using 2 bamboo"]),
        ("oak planks", ["craft 4 oak planks using 1 oak logs"]),
        ("oak wood", ["craft 3 oak wood using 4 oak log"]),
        ("campfire", ["craft 1 campfire using 3 logs, 1 coals, 3 stick"]),
        ("torch", ["craft 4 torch using 1 coal, 1 stick"]),
        ("barrel", ["craft 1 barrel using 6 planks, 2 wooden slabs"]),
        ("furnace", ["craft 1 furnace using 8 stone crafting materials"]),
        ("stone axe", ["craft 1 stone axe using 3 stone tool materials, 2 stick"]),
        ("painting", ["craft 1 painting using 1 wool, 8 stick"]),
        ("black bed", ["craft 1 black bed using 3 planks, 3 black wool", "craft 1 black bed using 1 black dye, 1 white bed"]),
        ("iron nugget", []),
        ("coal", []),
    ],
)
def test_recipes_have_generic_ingredients(item: str, commands: list[str]) -> None:
    assert sorted(commands_for(item)) == sorted(commands)


def test_a_list_has_every_recipe_that_can_lead_to_the_goal_and_at_most_ten_others() -> None:
    env = started("oak sign")
    observation, _ = env.reset(options={"item_id": env.item_id})
    lines = observation.split("\n")
    assert (lines[0], lines[-1]) == ("Crafting commands:", "Goal: craft oak sign.")
    listed = set(lines[1:-2])
    wanted = {"craft 3 oak sign using 6 oak planks, 1 stick", "craft 1 stick using 2 bamboo"}
    wanted |= {command for planks in TAGS["planks"] for command in commands_for(planks)}
    assert wanted <= listed
    sizes = []
    for index in range(0, 544, 8):
        env.reset(options={"item_id": f"{NAME}_{index}"})
        needed = env.book.all_needed(env.goal)
        assert set(needed) <= set(env.commands)
        assert len(set(env.commands)) == len(env.commands) <= len(needed) + 10
        sizes.append(len(env.commands))
    assert 12 <= sum(sizes) / len(sizes) <= 16
    assert max(sizes) <= 72


def test_an_item_stands_for_a_generic_ingredient() -> None:
    env = started("chest")
    observations = [
        env.step(action)[0]
        for action in (
            "inventory",
            "get 8 planks",
            "get 8 oak planks",
            "get 2 oak logs",
            "craft 1 chest using 8 planks",
            "craft 4 oak planks using 1 oak log",
            "craft 4 oak planks using 1 oak logs",
            "craft 4 oak planks using 1 oak logs",
            "craft 1 stick using 3 oak planks",
            "craft 1 chest using oak planks",
            "build a chest",
            "inventory",
        )
    ]
    assert observations == [
        "Inventory: You are not carrying anything.",
        "Could not find planks",
        "Could not find oak planks",
        "Got 2 oak logs",
        "Could not find enough items to craft minecraft:chest",
        "Could not find enough items to craft minecraft:oak_planks",
        "Crafted 4 minecraft:oak_planks",
        "Crafted 4 minecraft:oak_planks",
        "Could not find a valid recipe for stick",
        "Wrong item format: oak planks",
        "Could not execute build a chest",
        "Inventory: [oak planks] (8)",
    ]
    observation, reward, terminated, _, info = env.step("craft 1 chest using 8 oak planks")
    assert (observation, reward, terminated, info["success"]) == ("Crafted 1 minecraft:chest", 1.0, True, True)


def test_a_recipe_that_is_not_in_the_list_can_be_crafted_too() -> None:
    env = started("iron sword")
    env.step("get 1 cornflower")
    assert "blue dye" not in {recipe.output for recipe in env.commands}
    assert env.step("craft 1 blue dye using 1 cornflower")[0] == "Crafted 1 minecraft:blue_dye"


def test_the_expert_wins_without_a_refusal_and_every_goal_fits_the_round_limit() -> None:
    env = OriginalTextCraft()
    assert max(count_rounds(env.book.plan, goal) for goal in env.book.goals) == 48 < env.max_rounds
    longest = max(range(544), key=lambda index: count_rounds(env.book.plan, env.book.goals[index]))
    for index in (*range(0, 544, 8), longest):
        _, turns = golden.expert_episode(env, f"{NAME}_{index}")
        assert env.succeeded(env.reward), env.goal
        assert not [turn for turn in turns if re.match("Could|Wrong", turn.observation)], env.goal
        assert len(turns) == count_rounds(env.book.plan, env.goal)


def test_available_actions_are_those_that_succeed() -> None:
    env = started("chest")
    for action in ("get 2 oak logs", "craft 4 oak planks using 1 oak logs", "craft 4 oak planks using 1 oak logs"):
        env.step(action)
    actions = env.available_actions()
    assert "craft 1 chest using 8 oak planks" in actions
    assert "craft 4 acacia planks using 1 acacia logs" not in actions
    for action in actions:
        other = started("chest")
        for earlier in ("get 2 oak logs", "craft 4 oak planks using 1 oak logs", "craft 4 oak planks using 1 oak logs"):
            other.step(earlier)
        assert not re.match("Could|Wrong", other.step(action)[0]), action


def test_it_keeps_the_contract_and_its_texts() -> None:
    check_env(OriginalTextCraft(), skip_render_check=True)
    problem = golden.mismatch(NAME, golden.committed(NAME), golden.digests(make(NAME)))
    assert problem is None, problem
    with pytest.raises(UnknownItem, match=f"{NAME}_0 to {NAME}_543"):
        OriginalTextCraft().reset(options={"item_id": "textcraft_3"})


def test_it_is_played_where_it_is_named_and_in_no_list_of_all_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert NAME not in ENVIRONMENTS
    assert NAME not in check_known_environments([NAME, "maze"])
    assert NAME in registered_environments()
    assert environment_class(NAME) is OriginalTextCraft
    with pytest.raises(ValueError, match="there is an environment 'textcraft-original' already"):
        add(NAME, "mine:Mine")
    monkeypatch.setattr(OriginalTextCraft, "instructions", classmethod(lambda cls, split: cls.catalogue()[split == "eval"][:3]))
    datasets = collect(tmp_path, [NAME])
    assert {kind: dataset.counts for kind, dataset in datasets.items() if "traj" in kind.lower()} == {
        "agenttraj": {NAME: 3},
        "agenttraj_l": {NAME: 3},
    }
