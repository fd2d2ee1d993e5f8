"""The progress rate by environment: what each measure counts, in episodes that can be checked by hand. test_contract.py has the rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

from envs import make
from envs.base import TextEnv
from envs.registry import environment_class
from envs.textcraft import TextCraft
from envs.textcraft.recipes import Recipe, RecipeBook
from envs.wordle import marks
from tests.envs.faulty import Faulty


def progress_after(env: TextEnv, *actions: str) -> list[float]:
    """The progress after each action, rounded to two digits."""
    return [round(env.step(action)[4]["progress"], 2) for action in actions]


def begin(name: str, item_id: str) -> Any:
    env = make(name)
    env.reset(options={"item_id": item_id})
    return env


def test_maze_counts_the_cells_of_the_shortest_path_and_keeps_the_best() -> None:
    env = make("maze")
    item = next(item for item in env.instructions("eval") if item.difficulty == "5-9")
    env.reset(options={"item_id": item.item_id})
    path = env.path_to_goal()  # type: ignore[attr-defined]
    back = {"up": "down", "down": "up", "left": "right", "right": "left"}[path[0]]
    first, after_return, again = progress_after(env, f"move {path[0]}", f"move {back}", f"move {path[0]}")
    assert first == after_return == again == round(1 / len(path), 2)


def test_textcraft_counts_needed_items_and_amounts_and_not_what_nothing_needs() -> None:
    commands = ["craft 2 plank using 1 log", "craft 1 box using 4 plank, 1 nail", "craft 1 hook using 1 nail"]
    env = TextCraft(RecipeBook([Recipe.parse(command) for command in commands], goals=["box"]))
    env.reset(options={"item_id": "textcraft_0"})
    # box, plank, log and nail are needed, each a quarter: two logs make the four planks.
    actions = ["get 1 log", "get 1 log", "get 9 log", "craft 2 plank using 1 log", "get 1 nail", "craft 1 hook using 1 nail"]
    assert progress_after(env, *actions) == [0.12, 0.25, 0.25, 0.38, 0.62, 0.62]
    rest = ["craft 2 plank using 1 log", "get 1 nail", "craft 1 box using 4 plank, 1 nail"]
    assert progress_after(env, *rest) == [0.62, 0.75, 1.0], "the nail that went into the hook is needed again"


def test_wordle_counts_known_letters_and_the_word_itself() -> None:
    env = begin("wordle", "wordle_0")
    guess = next(word for word in env.words if word != env.hidden)
    given = marks(guess, env.hidden)
    assert progress_after(env, guess) == [round((given.count("g") + given.count("y") / 2) / 6, 2)]
    assert progress_after(env, guess, "abcde") == [env.progress and round(env.progress, 2)] * 2, "nothing new is known"
    assert progress_after(env, env.hidden) == [1.0]


def test_alfworld_counts_seeing_taking_changing_and_placing() -> None:
    item = next(item for item in environment_class("alfworld").instructions("train") if item.task_type == "pick_heat_then_place_in_recep")
    env = begin("alfworld", item.item_id)
    expert, steps = env.expert(), []
    observation = env.reset(options={"item_id": item.item_id})[0]
    while not env.done:
        action = expert.act(observation)[1]
        observation, _, _, _, info = env.step(action)
        steps.append((action.split()[0], info["progress"]))
    reached = {verb: max(value for name, value in steps if name == verb) for verb in ("take", "heat", "move")}
    assert reached == {"take": 0.5, "heat": 0.75, "move": 1.0}
    assert 0.25 in [value for _, value in steps], "the object was seen before it was taken"


def test_babyai_counts_each_part_of_the_mission_and_the_walk_to_it() -> None:
    level = environment_class("babyai").task_types.index("GoToSeqS5R2")
    ids = (f"babyai_{level + 40 * seed}" for seed in range(200))
    env = next(env for env in (begin("babyai", item_id) for item_id in ids) if ", then go to" in env.mission and " and " not in env.mission)
    observation, expert, values = env.reset(options={"item_id": env.item_id})[0], env.expert(), [0.0]
    while not env.done:
        observation = env.step(expert.act(observation)[1])[0]
        values.append(env.progress)
        if env.minigrid_env.instrs.a_done != "success":
            assert values[-1] < 0.5, "half of the mission at most until its first part is done"
        elif not env.done:
            assert 0.5 <= values[-1] < 1
    assert values[0] == 0
    assert values[-1] == 1


def test_babyai_counts_the_way_to_the_key_of_a_locked_door() -> None:
    level = environment_class("babyai").task_types.index("Unlock")
    with_key = []
    for seed in range(3):
        env = begin("babyai", f"babyai_{level + 40 * seed}")
        observation, expert = env.reset(options={"item_id": env.item_id})[0], env.expert()
        while not env.done:
            observation = env.step(expert.act(observation)[1])[0]
            if env.view.carrying is not None and not env.done:
                with_key.append(env.progress)
    assert with_key
    assert all(0 < value < 1 for value in with_key)


def test_babyai_does_not_count_walls_as_grey_objects() -> None:
    env = begin("babyai", "babyai_819")
    assert env.mission == "pick up a grey object"
    observation, expert = env.reset(options={"item_id": env.item_id})[0], env.expert()
    assert env.progress == 0
    while not env.done:
        observation = env.step(expert.act(observation)[1])[0]
    assert env.progress == 1


def test_webshop_counts_requirements_of_the_open_product_and_the_purchase() -> None:
    env = make("webshop")
    item = next(item for item in env.instructions("train") if item.difficulty == "4 wishes")
    observation = env.reset(options={"item_id": item.item_id})[0]
    expert, actions, values = env.expert(), [], []
    while not env.done:
        actions.append(expert.act(observation)[1])
        observation = env.step(actions[-1])[0]
        values.append(env.progress)
    num_options = len(env.goal.options)  # type: ignore[attr-defined]
    opened = values[-2 - num_options]
    assert opened == pytest.approx((4 - num_options) / 5), "attributes and price of the right product"
    assert values[-2] == pytest.approx(4 / 5), "everything but the purchase"
    assert values[-1] == 1


def test_tools_count_the_solutions_calls_with_their_arguments_once() -> None:
    env = make("todo")
    item = next(item for item in env.instructions("train") if item.difficulty.startswith("3"))
    env.reset(options={"item_id": item.item_id})
    calls = [action for _, action in env.solution]  # type: ignore[attr-defined]
    assert len(calls) == 3
    assert progress_after(env, calls[0], calls[0], "check_valid_actions", calls[1].split(" with ")[0]) == [0.25] * 4
    assert progress_after(env, calls[1], calls[2], 'finish with Action Input: {"answer": "nonsense"}') == [0.5, 0.75, 0.75]


def test_sheet_has_the_progress_of_its_table_before_it_is_finished() -> None:
    env = make("sheet")
    item = env.instructions("eval")[0]
    observation = env.reset(options={"item_id": item.item_id})[0]
    expert, values = env.expert(), []
    while not env.done:
        observation = env.step(expert.act(observation)[1])[0]
        values.append(env.progress)
    num_calls = len(env.solution)  # type: ignore[attr-defined]
    assert values[-2:] == [num_calls / (num_calls + 1), 1.0]


@pytest.mark.parametrize("measured", [1.0, -0.1, float("nan")])
def test_a_measure_that_claims_success_or_is_no_share_is_an_error(measured: float) -> None:
    class Boasting(Faulty):
        def measure_progress(self) -> float:
            return measured

    with pytest.raises(ValueError, match="measure_progress must return 0 to below 1"):
        Boasting().reset(options={"item_id": "faulty_3"})


def test_progress_is_plain_json_in_the_info() -> None:
    env = make("maze")
    _, info = env.reset(seed=1)
    assert json.loads(json.dumps(info))["progress"] == 0.0
