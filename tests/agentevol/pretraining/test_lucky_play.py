"""Lucky play: it reaches its goal, says what it does, is short, and no instruction is in it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

import envs
from agentevol.data.trajectory import Message
from agentevol.pretraining import deduction, exercises, lucky_play, problems
from agentevol.pretraining.shorten import shorten, without_loops
from envs.maze import shortest_path
from envs.textcraft.recipes import Recipe
from envs.wordle import is_consistent, marks

pytestmark = pytest.mark.slow

SUCCESS = {
    "alfworld": ("You move the ", "You turn on the "),
    "babyai": ("The task is completed.",),
    "maze": ("You have reached the goal.",),
    "textcraft": ("Crafted ",),
    "webshop": ("You have bought it.",),
    "wordle": ("You have found the word.",),
}


def _episodes(name: str, count: int) -> list[list[Message]]:
    rng = random.Random(f"test {name}")
    found: list[list[Message]] = []
    while len(found) < count:
        episode = lucky_play.episode(rng, name)
        if episode is not None:
            found.append(episode)
    return found


def _action(message: Message) -> str:
    return message.content.partition("\nAction: ")[2]


@pytest.mark.parametrize("name", lucky_play.WEIGHTS)
def test_every_episode_reaches_its_goal_within_the_rounds_and_is_no_instruction(name: str) -> None:
    env = envs.make(name)
    for messages in _episodes(name, 4):
        answers = [message for message in messages if message.role == "assistant"]
        assert len(messages) == 2 * len(answers) + 1
        assert len(answers) <= env.max_rounds
        assert any(text in messages[-1].content for text in SUCCESS[name])
        assert not any(
            text in message.content for message in messages[:-1] for text in SUCCESS[name] if name in ("babyai", "maze", "wordle")
        )
        assert all(env.parse_action(answer.content) == _action(answer) for answer in answers)
        opening = messages[0].content.removeprefix(f"{env.prompt}\n\n")
        assert opening != messages[0].content
        assert opening not in problems.instruction_observations(name)


@pytest.mark.parametrize("name", lucky_play.WEIGHTS)
def test_the_same_generator_gives_the_same_episodes(name: str) -> None:
    assert _episodes(name, 1) == _episodes(name, 1)


def test_a_thought_in_babyai_names_only_objects_that_are_in_view() -> None:
    for messages in _episodes("babyai", 8):
        for observation, answer in zip(messages[::2], messages[1::2], strict=False):
            thought = answer.content.partition("\nAction: ")[0]
            if " I see " in thought:
                label = " ".join(thought.partition(" I see ")[2].split()[:4]).partition(" 1")[0]
                assert label.split(".")[0].split(" right in")[0] in observation.content


def test_a_thought_in_textcraft_counts_what_was_gathered() -> None:
    for messages in _episodes("textcraft", 8):
        inventory: dict[str, int] = {}
        for answer in messages[1::2]:
            thought, _, action = answer.content.removeprefix("Thought: ").partition("\nAction: ")
            if thought.startswith("I have ") and not thought.startswith("I have nothing"):
                told = dict(reversed(part.split(" ", 1)) for part in thought.removeprefix("I have ").partition(". ")[0].split(", "))
                assert {item: int(count) for item, count in told.items()} == inventory
            _apply(inventory, action)


def _apply(inventory: dict[str, int], action: str) -> None:
    if action.startswith("get "):
        _, count, item = action.split(" ", 2)
        inventory[item] = inventory.get(item, 0) + int(count)
    elif action.startswith("craft "):
        recipe = Recipe.parse(action)
        for count, item in recipe.ingredients:
            inventory[item] -= count
        inventory[recipe.output] = inventory.get(recipe.output, 0) + recipe.count
        for item in [item for item, count in inventory.items() if not count]:
            del inventory[item]


def test_shortening_keeps_what_matters_and_nothing_else() -> None:
    rng = random.Random(0)

    def opens_the_door(actions: Sequence[str]) -> bool:
        return "key" in actions and "door" in actions[actions.index("key") :] and actions[-1] == "door"

    for _ in range(20):
        noise = [rng.choice(("left", "right", "wait")) for _ in range(30)]
        actions = [*noise[:13], "key", *noise[13:], "door"]
        assert shorten(actions, opens_the_door, 500) == ["key", "door"]
    assert opens_the_door(shorten(actions, opens_the_door, 3))  # out of replays: longer, but it still succeeds


def test_shortening_a_random_walk_in_a_maze_gives_a_shortest_path() -> None:
    rng = random.Random(3)
    for _ in range(5):
        maze = problems.FreeMaze(layout=problems.random_maze(rng))
        item_id = f"maze_{len(maze.cells) - 1}"
        maze.max_rounds = 10_000  # type: ignore[misc]
        actions: list[str] = []
        _, info = maze.reset(options={"item_id": item_id})
        while not info.get("success"):
            actions.append(rng.choice(info["available_actions"]))
            *_, info = maze.step(actions[-1])
        path = shortest_path(frozenset(maze.cells), maze.cells[0], maze.cells[-1])
        short = shorten(actions, lambda candidate, maze=maze, item=item_id: lucky_play.succeeds(maze, item, candidate), 4000)
        assert path is not None
        assert short == [f"move {direction}" for direction in path]


def test_requirements_name_the_first_missing_item() -> None:
    for seed in range(40):
        for question, answer in deduction.requirements(random.Random(seed)):
            has = question.rpartition("You have ")[2].partition(". What")[0]
            assert answer.startswith(f"I have {has}. Goal ")
            assert not has.endswith(",")
        lines = deduction.requirements(random.Random(seed))[0][0].split("\n\n")[0].split("\n")[1:]
        assert all(Recipe.parse(line) for line in lines)


def test_candidates_agree_with_all_marks_and_are_the_first_that_do() -> None:
    for seed in range(40):
        turns = deduction.candidates(random.Random(seed))
        words = [word.replace(" ", "") for word in turns[0][0].partition("\n")[0].removeprefix("Words: ").split(", ")]
        guesses: list[tuple[str, str]] = []
        for question, answer in turns:
            if guesses or not question.startswith("Words"):
                guess, _, shown = question.partition("\n")
                guesses.append((guess.replace(" ", ""), "".join(part.split()[1] for part in shown.split(", "))))
            named = answer.rpartition("The word can be ")[2].removesuffix(" .").replace(" ", "")
            assert named == next(word for word in words if is_consistent(word, guesses))
    assert marks("abcde", "abcde") == "ggggg"


def test_walks_in_a_circle_are_left_out_by_one_replay() -> None:
    replayed: list[list[str]] = []

    def succeeds(actions: Sequence[str]) -> bool:
        replayed.append(list(actions))
        return actions[-1] == "door"

    observations = ["start", "hall", "start", "hall", "attic", "hall"]
    actions = ["out", "back", "out", "up", "down", "door"]
    assert without_loops(actions, observations, succeeds) == ["out", "door"]
    assert len(replayed) == 1
    assert without_loops(actions, observations, lambda kept: len(kept) == 6) == actions  # a text that recurs can hide a different state
    assert without_loops(["door"], ["start"], succeeds) == ["door"]


def test_items_of_a_family_bear_the_name_of_their_material() -> None:
    recipes = problems.invented_recipes(random.Random(0), raw=20, crafted=40)
    assert len({recipe.output for recipe in recipes}) == 40
    named_after_a_part = [
        recipe for recipe in recipes if any(item.split()[0] == recipe.output.split()[0] for _, item in recipe.ingredients)
    ]
    assert 10 <= len(named_after_a_part) <= 36
    assert max(problems.RecipeBook(recipes).depth(recipe.output) for recipe in recipes) >= 3


def test_an_inventory_follows_from_the_events() -> None:
    for seed in range(40):
        held: dict[str, int] = {}
        for event, answer in exercises.inventory(random.Random(seed)):
            gained, _, used = event.replace("Used ", ", used ").partition(", used ")
            for part in used.split(", ") if used else ():
                count, _, item = part.partition(" ")
                held[item] -= int(count)
            held = {item: count for item, count in held.items() if count}
            if gained:
                count, _, item = gained.partition(" ")[2].partition(" ")
                held[item] = held.get(item, 0) + int(count)
            assert min(held.values(), default=1) > 0
            assert answer == "I have " + (", ".join(f"{count} {item}" for item, count in held.items()) or "nothing") + "."
