"""TextCraft's rules, its instructions, and its expert, which wins every goal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from math import ceil

import pytest

from envs import ExpertStuck, UnknownItem
from envs.textcraft import RecipeBook, TextCraft
from envs.textcraft.planner import count_rounds

PLANKS = "craft 4 oak planks using 1 oak log"

PINNED_GOALS = {
    0: "craft 1 acacia planks",
    31: "craft 1 dark oak wood",
    200: "craft 1 dark oak door",
    400: "craft 1 diamond shovel",
    543: "craft 1 warped fungus on a stick",
}
PINNED_LIST = [
    "craft 4 smooth quartz stairs using 6 smooth quartz",
    "craft 6 stone slab using 3 stone",
    "craft 8 pink terracotta using 8 terracotta, 1 pink dye",
    "craft 1 loom using 2 oak planks, 2 string",
    "craft 1 smithing table using 4 oak planks, 2 iron ingot",
    "craft 4 dark oak planks using 1 dark oak log",
    "craft 3 dark oak wood using 4 dark oak log",
]


def started(goal: str) -> TextCraft:
    env = TextCraft()
    env.reset(options={"item_id": f"textcraft_{env.book.goals.index(goal)}"})
    return env


def listed(observation: str) -> list[str]:
    head, _, rest = observation.partition("\n")
    commands, _, goal = rest.partition("\n\n")
    assert head == "Crafting commands:"
    assert re.fullmatch(r"Goal: craft 1 [a-z0-9 ]+\.", goal)
    return commands.split("\n")


def play(env: TextCraft, item_id: str) -> list[tuple[str, str, str]]:
    """The expert's (thought, action, observation) per round, given to the environment as a policy's text is."""
    observation, _ = env.reset(options={"item_id": item_id})
    expert, turns = env.expert(), []
    while not env.done:
        thought, action = expert.act(observation)
        observation, *_ = env.answer(f"Thought: {thought}\nAction: {action}")
        turns.append((thought, action, observation))
    return turns


# --- the rules -------------------------------------------------------------------------------------------------------


def test_a_whole_episode_word_for_word() -> None:
    env = TextCraft()
    index = env.book.goals.index("oak sign")
    turns = play(env, f"textcraft_{index}")
    assert [(action, observation) for _, action, observation in turns] == [
        ("get 2 oak log", "Got 2 oak log"),
        (PLANKS, "Crafted 4 oak planks"),
        (PLANKS, "Crafted 4 oak planks"),
        ("craft 4 stick using 2 oak planks", "Crafted 4 stick"),
        ("craft 3 oak sign using 6 oak planks, 1 stick", "Crafted 3 oak sign"),
    ]
    assert turns[2][0] == (
        "I have 1 oak log, 4 oak planks. Goal oak sign: craft 3 oak sign using 6 oak planks, 1 stick. "
        "6 oak planks: have 4, 2 more: craft 4 oak planks using 1 oak log. 1 oak log: have 1."
    )
    assert env.reward == 1.0


def test_get_gives_only_items_that_the_list_uses_and_does_not_make() -> None:
    env = started("oak sign")
    assert env.step("get 2 oak log")[0] == "Got 2 oak log"
    assert env.step("get 6 oak planks")[0] == "Could not find oak planks: craft it"
    assert env.step("get 1 oak sign")[0] == "Could not find oak sign: craft it"
    assert env.step("get 1 philosophers stone")[0] == "Could not find philosophers stone"
    assert env.inventory == {"oak log": 2}


def test_crafting_takes_the_ingredients_and_gives_the_output() -> None:
    env = started("oak sign")
    assert env.step("inventory")[0] == "Inventory: you have nothing"
    assert env.step(PLANKS)[0] == "Could not find enough items to craft 4 oak planks: need 1 oak log, have 0"
    env.step("get 2 oak log")
    assert env.step(PLANKS)[0] == "Crafted 4 oak planks"
    assert env.step("inventory")[0] == "Inventory: [oak log] (1) [oak planks] (4)"


@pytest.mark.parametrize(
    "action",
    [
        "craft 8 oak planks using 2 oak log",  # a whole multiple is not the command
        "craft 4 oak planks using 1 birch log",
        "craft 4 oak planks using 1 oak log, 1 oak log",
        "craft 1 diamond sword using 2 oak log",
        "craft 4 oak planks",
        "craft oak planks using oak log",
        "get oak log",
        "get 0 oak log",
        "get 99999 oak log",
    ],
)
def test_any_other_command_changes_nothing(action: str) -> None:
    env = started("oak sign")
    env.step("get 2 oak log")
    observation, reward, terminated, *_ = env.step(action)
    assert observation.startswith("Could not execute ")
    assert (reward, terminated, env.inventory) == (0.0, False, {"oak log": 2})


def test_the_order_of_ingredients_and_the_case_do_not_matter() -> None:
    env = started("oak sign")
    for action in ("get 3 oak log", PLANKS.upper(), PLANKS, "craft  4 stick using 2 oak planks"):
        assert not env.step(action)[0].startswith("Could not")
    assert env.step("craft 3 oak sign using 1 stick, 6 oak planks")[0] == "Crafted 3 oak sign"


def test_making_the_goal_ends_the_episode_with_reward_one() -> None:
    env = started("oak planks")
    assert env.step("get 1 oak log")[1:3] == (0.0, False)
    _, reward, terminated, truncated, info = env.step(PLANKS)
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)


def test_an_action_is_stripped_of_what_agentgym_strips() -> None:
    assert TextCraft.parse_action("Thought: planks\nAction: `craft 3 oak sign using 6 oak planks, 1 stick`.") == (
        "craft 3 oak sign using 6 oak planks, 1 stick"
    )


def test_available_actions_are_those_that_succeed() -> None:
    env = started("oak sign")
    assert PLANKS not in env.available_actions()
    env.step("get 4 oak log")
    actions = env.available_actions()
    assert PLANKS in actions
    for action in actions:
        other = started("oak sign")
        other.step("get 4 oak log")
        assert not other.step(action)[0].startswith("Could not"), action


# --- the instructions ------------------------------------------------------------------------------------------------


def test_goals_are_numbered_by_depth_and_name_and_eval_has_its_share_of_each_depth() -> None:
    book = TextCraft().book
    assert list(book.goals) == sorted(book.goals, key=lambda goal: (book.depth(goal), goal))
    training, held_out = TextCraft.catalogue()
    everything = Counter(item.difficulty for item in (*training, *held_out))
    assert everything == {"depth 1": 146, "depth 2": 201, "depth 3": 167, "depth 4": 30}
    for difficulty, count in Counter(item.difficulty for item in held_out).items():
        assert abs(count - Fraction(everything[difficulty] * 100, 544)) < 1


def test_ids_keep_their_problem() -> None:
    assert {index: TextCraft.instruction(f"textcraft_{index}").text for index in (0, 31, 200, 400, 543)} == PINNED_GOALS
    assert listed(TextCraft().reset(options={"item_id": "textcraft_31"})[0]) == PINNED_LIST


def test_every_list_is_enough_and_holds_no_more_than_six_distractors() -> None:
    env = TextCraft()
    for index, goal in enumerate(env.book.goals):
        observation, _ = env.reset(options={"item_id": f"textcraft_{index}"})
        commands = listed(observation)
        needed = {str(recipe) for recipe in env.book.needed(goal)}
        assert needed <= set(commands)
        assert len(set(commands)) == len(commands) == len(needed) + 6
        assert "minecraft" not in observation
        assert len(observation) < 700


@pytest.mark.parametrize("item_id", ["textcraft_544", "textcraft_-1", "textcraft_01", "textcraft_", "maze_3", "textcraft_٣"])
def test_an_unknown_id_is_refused_by_name(item_id: str) -> None:
    with pytest.raises(UnknownItem, match="textcraft_0 to textcraft_543"):
        TextCraft().reset(options={"item_id": item_id})


@pytest.mark.slow
def test_text_is_the_same_under_any_hash_seed() -> None:
    program = (
        "from envs.textcraft import TextCraft\n"
        "env = TextCraft()\n"
        "for index in (0, 31, 222, 400, 543):\n"
        "    text, _ = env.reset(options={'item_id': f'textcraft_{index}'})\n"
        "    print(text, env.available_actions())\n"
        "    expert = env.expert()\n"
        "    while not env.done:\n"
        "        thought, action = expert.act(text)\n"
        "        text = env.step(action)[0]\n"
        "        print(thought, action, text)\n"
        "print([item.item_id for item in TextCraft.catalogue()[1]])\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True, timeout=60
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1
    assert b"Crafted" in outputs.pop()


# --- the expert ------------------------------------------------------------------------------------------------------


def test_the_expert_wins_every_goal_in_time_and_without_a_refusal() -> None:
    env = TextCraft()
    for index, goal in enumerate(env.book.goals):
        turns = play(env, f"textcraft_{index}")
        assert env.succeeded(env.reward), goal
        assert len(turns) == count_rounds(env.book, goal) <= 20, goal
        assert not [observation for *_, observation in turns if observation.startswith("Could not")], goal


def test_the_expert_crafts_no_more_than_the_goal_needs() -> None:
    env = TextCraft()
    for index in range(0, 544, 9):
        turns = play(env, f"textcraft_{index}")
        crafted = Counter(action for _, action, _ in turns if action.startswith("craft"))
        assert crafted == fewest_crafts(env.book, env.goal)


def fewest_crafts(book: RecipeBook, goal: str) -> Counter[str]:
    """From the goal down, deepest first: the total need of each item, rounded up to whole crafts."""
    wanted, crafts = Counter({goal: 1}), Counter[str]()
    for recipe in sorted(book.needed(goal), key=lambda recipe: -book.depth(recipe.output)):
        times = ceil(wanted[recipe.output] / recipe.count)
        crafts[str(recipe)] = times
        wanted.update({item: count * times for count, item in recipe.ingredients})
    return crafts


def test_a_thought_begins_with_the_inventory_and_ends_with_the_action() -> None:
    env = TextCraft()
    for index in range(0, 544, 9):
        for thought, action, _ in play(env, f"textcraft_{index}"):
            assert thought.startswith("I have ")
            commands = re.findall(r"craft [0-9]+ .+? using .+?(?=, [0-9]+ times\.|\. |\.$)", thought)
            if action.startswith("get "):
                assert thought.endswith(f"get {action.split()[1]}.")
            else:
                assert commands[-1] == action


def test_the_expert_takes_over_an_episode_that_another_policy_began() -> None:
    env = started("oak sign")
    for action in ("get 1 oak log", "get 7 oak log", PLANKS, "craft 4 stick using 2 oak planks", "nonsense"):
        env.step(action)
    expert, observation = env.expert(), ""
    while not env.done:
        observation = env.step(expert.act(observation)[1])[0]
    assert env.succeeded(env.reward)
    with pytest.raises(ExpertStuck, match="reset"):
        expert.act(observation)
