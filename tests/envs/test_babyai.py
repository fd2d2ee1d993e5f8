"""BabyAI: the text, the actions, the reward and the committed instructions, through the public interface."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from envs.babyai import LEVELS, BabyAI
from envs.babyai.actions import DROP, FORWARD, LEFT, PICKUP, RIGHT, STAY, TOGGLE, available_actions
from envs.babyai.generate import solve
from envs.babyai.levels import DIFFICULTY, ONE_ROOM, SEVERAL_PARTS, level_and_seed, make_level
from envs.babyai.observation import GridObject, View
from envs.base import UnknownItem
from tests.envs.babyai_episodes import item, play

OPEN_FLOOR = {(ahead, right): None for ahead in range(3) for right in range(-3, 4)}


# --- levels -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_level_is_generated_within_a_bounded_time() -> None:
    """In the first layout of these two, every free cell of the agent's room faces an object; minigrid's own loop never ends."""
    item_ids = ["babyai_4908274", "babyai_4272114"]
    code = f"import envs\nfor item_id in {item_ids}: print(envs.make('babyai').reset(options={{'item_id': item_id}})[0])"
    first, second = (subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=100).stdout for _ in range(2))
    assert first == second
    goals = [line for line in first.decode().splitlines() if line.startswith("Your goal: ")]
    assert goals == ["Your goal: put a red box next to the red door", "Your goal: open a yellow door"]


def test_a_level_without_a_valid_layout_is_an_unknown_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.babyai.levels.MAX_DRAWS", 10)
    monkeypatch.setattr("envs.babyai.levels.MAX_ATTEMPTS", 3)
    with pytest.raises(UnknownItem, match=r"babyai_34 \(level SynthS5R2, seed 0\): minigrid found no valid layout in 3 attempts"):
        BabyAI().reset(options={"item_id": "babyai_34"})


def test_the_bounds_change_no_level() -> None:
    minigrid_env = make_level("BossLevel", 7)
    unbounded = gymnasium.make("BabyAI-BossLevel-v0").unwrapped
    unbounded.reset(seed=7)
    assert minigrid_env.grid == unbounded.grid
    assert (minigrid_env.mission, tuple(minigrid_env.agent_pos)) == (unbounded.mission, tuple(unbounded.agent_pos))
    assert not {"_rand_int", "gen_mission"} & set(vars(minigrid_env))


# --- observations -----------------------------------------------------------------------------------------------------


def test_first_observation_has_the_goal_the_objects_and_the_actions() -> None:
    observation, info = BabyAI().reset(options=item("GoToRedBallNoDists", 0))
    goal, description, actions = observation.split("\n")
    assert goal == "Your goal: go to the red ball"
    assert description.endswith("You are not carrying anything.")
    assert actions == f"Available actions: [{', '.join(info['available_actions'])}]"
    assert actions.startswith("Available actions: [turn left, turn right")


def test_a_view_lists_objects_nearest_first_with_numbers_and_offsets() -> None:
    view = View(
        {**OPEN_FLOOR, (1, 3): GridObject("ball", "red"), (2, -1): GridObject("ball", "red"), (3, 0): GridObject("wall", "grey")}, None
    )
    assert view.text() == (
        "In front of you in this room, you can see several objects: "
        "There is a red ball 1 2 steps in front of you and 1 steps to your left. "
        "There is a red ball 2 1 steps in front of you and 3 steps to your right. "
        "The room has walls around you. You are facing a wall 3 steps away. You are not carrying anything."
    )


def test_an_empty_view_says_so() -> None:
    assert View({}, GridObject("key", "blue")).text() == (
        "You cannot see any objects within sight. The room has walls around you. You are carrying a blue key."
    )


def test_an_action_is_a_path_over_visible_floor() -> None:
    view = View({**OPEN_FLOOR, (2, 0): GridObject("ball", "red"), (2, 2): GridObject("door", "green", "open")}, None)
    actions = available_actions(view)
    assert actions["go to red ball 1"] == (FORWARD,)
    assert actions["pickup red ball 1"] == (FORWARD, PICKUP)
    assert actions["go through green open door 1"] == (FORWARD, RIGHT, FORWARD, FORWARD, LEFT, FORWARD)
    assert "drop" not in actions


def test_a_locked_door_opens_only_with_its_key() -> None:
    cells = {**OPEN_FLOOR, (1, 0): GridObject("door", "red", "locked")}
    without_key, with_key = (available_actions(View(cells, GridObject("key", color))) for color in ("blue", "red"))
    assert set(without_key) == {"turn left", "turn right", "go to red locked door 1"}
    assert with_key["toggle and go through red locked door 1"] == (TOGGLE, FORWARD)
    assert with_key["go to red locked door 1"] == (STAY,)


def test_an_object_behind_others_keeps_its_number_and_is_not_offered() -> None:
    ball, wall = GridObject("ball", "red"), GridObject("wall", "grey")
    view = View({(1, 0): GridObject("box", "grey"), (0, 1): wall, (2, 0): ball, (0, -1): None, (0, -2): None, (0, -3): ball}, None)
    assert [visible.label for visible in view.objects] == ["grey box 1", "red ball 1", "red ball 2"]
    assert "pickup red ball 1" not in available_actions(view)
    assert available_actions(view)["pickup red ball 2"] == (LEFT, FORWARD, FORWARD, PICKUP)


def test_the_carried_object_is_dropped_on_free_floor_only() -> None:
    key = GridObject("key", "red")
    assert available_actions(View(OPEN_FLOOR, key))["drop"] == (DROP,)
    assert "drop" not in available_actions(View({**OPEN_FLOOR, (1, 0): GridObject("ball", "red")}, key))


def test_the_order_words_of_a_goal_are_kept() -> None:
    goals = [BabyAI().reset(options=item("GoToSeqS5R2", seed))[0].split("\n")[0] for seed in range(30)]
    assert any(", then " in goal for goal in goals)
    assert any(" after you " in goal for goal in goals)


# --- episodes ---------------------------------------------------------------------------------------------------------


def test_reaching_the_goal_is_rewarded_once_and_ends_the_episode() -> None:
    env = BabyAI()
    env.reset(options=item("GoToObjS6", 0))
    for _, _, action in play(env, item("GoToObjS6", 0)["item_id"]):
        assert action
    assert env.done
    assert 0.1 <= env.reward <= 1.0
    assert env.succeeded(env.reward)
    with pytest.raises(RuntimeError, match="reset"):
        env.step("turn left")


def test_the_levels_own_limit_ends_the_episode_without_success() -> None:
    env = BabyAI()
    env.max_rounds = 1_000
    env.reset(options=item("GoToObjS6", 1))
    while not env.done:
        observation, reward, terminated, _, info = env.step("turn left")
    assert terminated
    assert env.rounds == env.minigrid_env.max_steps
    assert (reward, env.reward, info["success"]) == (0.0, 0.0, False)
    assert observation.endswith("The step limit is reached.")


@pytest.mark.parametrize("action", ["fly", "", "pickup red ball 9", "go through grey open door 1", "\u00e9", "turn left, turn left"])
def test_an_unavailable_action_is_answered_and_costs_a_round(action: str) -> None:
    env = BabyAI()
    first, info = env.reset(options=item("GoToRedBall", 3))
    observation, reward, terminated, truncated, _ = env.step(action)
    assert observation == f"That action is not available here.\n{first.splitlines()[-1]}"
    assert (reward, terminated, truncated, env.rounds) == (0.0, False, False, 1)
    assert env.available_actions() == info["available_actions"]


def test_pick_up_is_accepted_like_pickup() -> None:
    env = BabyAI()
    _, info = env.reset(options=item("PickupLoc", 1))
    action = next(action for action in info["available_actions"] if action.startswith("pickup "))
    assert env.step(action.replace("pickup", "Pick up"))[0] != env.step("fly")[0]
    assert env.minigrid_env.carrying is not None


def test_any_natural_number_is_a_valid_id_and_nothing_else_is() -> None:
    env = BabyAI()
    observation, _ = env.reset(options={"item_id": "babyai_100000009"})
    assert level_and_seed(100000009) == ("GoToDoor", 2_500_000)
    assert observation.startswith("Your goal: go to ")
    for wrong in ("babyai_-1", "babyai_01", "babyai_x", "babyai_", "maze_1"):
        with pytest.raises(UnknownItem, match="babyai_N"):
            env.reset(options={"item_id": wrong})


def test_it_is_a_gymnasium_environment() -> None:
    check_env(BabyAI(), skip_render_check=True)


# --- the instructions -------------------------------------------------------------------------------------------------


def test_the_instructions_have_the_papers_sizes_and_are_spread_over_the_levels() -> None:
    training, evaluation = BabyAI.instructions("explore"), BabyAI.instructions("eval")
    assert (len(training), len(evaluation), len(BabyAI.instructions("train"))) == (810, 90, 400)
    assert set(Counter(instruction.task_type for instruction in training).values()) == {20, 21}
    assert set(Counter(instruction.task_type for instruction in evaluation).values()) == {2, 3}
    assert {instruction.task_type for instruction in evaluation} == set(LEVELS)
    assert (
        len({instruction.text for instruction in (*training, *evaluation)})
        == len({instruction.item_id for instruction in (*training, *evaluation)})
        == 900
    )


def test_a_sample_of_the_instructions_is_solved_and_reads_as_committed() -> None:
    env = BabyAI()
    for instruction in (*BabyAI.instructions("explore"), *BabyAI.instructions("eval"))[::37]:
        row = solve(env, int(instruction.item_id.removeprefix("babyai_")))
        assert row is not None, instruction.item_id
        assert instruction.text == f"{row[1]} [first observation {row[2]}]"


def test_difficulty_agrees_with_the_room_count() -> None:
    for level in LEVELS:
        env = make_level(level, 0)
        if DIFFICULTY[level] != SEVERAL_PARTS:
            assert (env.num_rows * env.num_cols == 1) == (DIFFICULTY[level] == ONE_ROOM), level


def test_making_a_level_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(12):  # minigrid reports rejected draws of these
        make_level("BossLevel", seed)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_episodes_are_the_same_under_any_hash_seed() -> None:
    script = (
        "import hashlib; from envs.babyai import BabyAI; from tests.envs.babyai_episodes import play, item\n"
        "episodes = [play(BabyAI(), item(level, seed)['item_id']) for level, seed in "
        "[('GoToRedBall', 0), ('PutNextLocalS6N4', 1), ('UnlockPickupDist', 2), ('SynthSeq', 1), ('PickupAbove', 3)]]\n"
        "print(hashlib.sha256(repr(episodes).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(digests) == 1
