"""MAZE: observations, rewards, the expert, the instructions, and other mazes."""

from __future__ import annotations

from collections import Counter

import pytest

from envs import ExpertStuck, UnknownItem
from envs.maze import DOUBLE_T, Maze, free_cells, shortest_path

CELLS = free_cells(DOUBLE_T)
ROOM = ["####", "#..#", "#..#", "####"]


def item(start: tuple[int, int], goal: tuple[int, int]) -> str:
    return f"maze_{CELLS.index(start) * 26 + CELLS.index(goal)}"


def started(start: tuple[int, int], goal: tuple[int, int]) -> tuple[Maze, str]:
    env = Maze()
    return env, env.reset(options={"item_id": item(start, goal)})[0]


def test_the_maze_is_lmrl_gyms_double_t() -> None:
    assert (len(DOUBLE_T), len(DOUBLE_T[0]), len(CELLS)) == (10, 13, 26)
    paths = [shortest_path(frozenset(CELLS), cell, (8, 6)) for cell in CELLS]
    assert max(len(path) for path in paths if path is not None) == 12


def test_observation_gives_goal_position_and_walls() -> None:
    _, observation = started((5, 4), (8, 6))
    assert observation == "The goal is at position 8, 6. Your current position is at position 5, 4. There are walls above you, below you."
    _, observation = started((1, 1), (8, 6))
    assert observation.endswith("There are walls above you, below you, to your left.")


def test_observation_says_where_there_are_no_walls() -> None:
    env = Maze(["#####", "#...#", "#...#", "#...#", "#####"])
    assert env.reset(options={"item_id": "maze_36"})[0].endswith("position 2, 2. There are no walls around you.")


@pytest.mark.parametrize(
    ("direction", "position"), [("up", "4, 3"), ("right", "5, 4"), ("down", "5, 3"), ("left", "5, 3")], ids=["up", "right", "down", "left"]
)
def test_a_move_goes_one_cell_unless_a_wall_is_there(direction: str, position: str) -> None:
    env, _ = started((5, 3), (8, 6))
    observation, reward, terminated, truncated, _ = env.step(f"move {direction}")
    assert f"Your current position is at position {position}." in observation
    assert observation.startswith("There is a wall ") == (position == "5, 3")
    assert (reward, terminated, truncated) == (0.0, False, False)


def test_reaching_the_goal_gives_1_and_ends() -> None:
    env, _ = started((7, 6), (8, 6))
    observation, reward, terminated, truncated, info = env.step("move down")
    assert observation.endswith("You have reached the goal.")
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)


def test_case_and_spaces_do_not_matter() -> None:
    env, _ = started((7, 6), (8, 6))
    assert env.step("  Move   DOWN ")[2]


def test_an_action_that_is_not_a_move_costs_a_round() -> None:
    env, first = started((5, 3), (8, 6))
    observation, *_ = env.step("go down")
    assert observation == f"That is not a move. Say: move up, move down, move left or move right. {first}"
    assert env.rounds == 1


def test_fifteen_rounds_without_the_goal_end_with_reward_0() -> None:
    env, _ = started((5, 3), (8, 6))
    steps = [env.step("move up" if index % 2 else "move right") for index in range(15)]
    assert [step[3] for step in steps] == [False] * 14 + [True]
    assert (env.reward, steps[-1][2], steps[-1][4]["success"]) == (0.0, False, False)


def test_available_actions_are_the_moves_that_no_wall_blocks() -> None:
    env, _ = started((5, 6), (8, 6))
    assert env.available_actions() == ["move down", "move left", "move right"]


def test_expert_takes_a_shortest_path_and_says_where_it_leads() -> None:
    env, observation = started((5, 7), (8, 6))
    expert, decisions = env.expert(), []
    while not env.done:
        thought, action = expert.act(observation)
        decisions.append((thought, action))
        observation = env.step(action)[0]
    assert [action for _, action in decisions] == ["move left", "move down", "move down", "move down"]
    assert decisions[0][0] == "I am at 5, 7 and the goal is at 8, 6. The way leads left."


def test_expert_finds_the_path_after_a_move_of_another_policy() -> None:
    env, observation = started((5, 6), (8, 6))
    expert = env.expert()
    env.step("move left")
    assert expert.act(observation)[1] == "move right"


def test_expert_has_no_move_left_at_the_goal() -> None:
    env, observation = started((7, 6), (8, 6))
    env.step("move down")
    with pytest.raises(ExpertStuck):
        env.expert().act(observation)


def test_difficulty_is_the_length_of_the_shortest_path() -> None:
    assert Maze.instruction(item((7, 6), (8, 6))).difficulty == "1-4"
    assert Maze.instruction(item((1, 3), (5, 4))).difficulty == "5-9"
    assert Maze.instruction(item((1, 1), (8, 6))).difficulty == "10-14"
    assert Maze.instruction(item((1, 1), (1, 11))).difficulty == "15+"


def test_eval_has_each_difficulty_as_often_as_training_has() -> None:
    training = Counter(i.difficulty for i in Maze.instructions("explore"))
    held_out = Counter(i.difficulty for i in Maze.instructions("eval"))
    assert set(training) == {"1-4", "5-9", "10-14"}
    assert all(abs(held_out[label] / 25 - training[label] / 215) < 0.04 for label in training)


def test_every_pair_of_cells_can_be_played_and_nothing_else() -> None:
    env = Maze()
    numbers = range(26 * 26 + 1)
    refused = []
    for number in numbers:
        try:
            env.reset(options={"item_id": f"maze_{number}"})
        except UnknownItem:
            refused.append(number)
    assert refused == [*range(0, 676, 27), 676]


def test_another_maze_has_ids_by_the_same_formula() -> None:
    env = Maze(ROOM)
    observation, _ = env.reset(options={"item_id": "maze_3"})
    assert observation.startswith("The goal is at position 2, 2. Your current position is at position 1, 1.")
    assert env.expert().act(observation)[1] == "move down"
    with pytest.raises(UnknownItem):
        env.reset(options={"item_id": "maze_16"})


def test_two_cells_without_a_path_are_no_instruction() -> None:
    with pytest.raises(UnknownItem, match="no path leads from 1, 1 to 1, 3"):
        Maze(["#####", "#.#.#", "#####"]).reset(options={"item_id": "maze_1"})


@pytest.mark.parametrize(
    "layout", [[], ["###", "#.#", "###"], ["####", "#.. ", "####"], ["####", "#..#", "###"], ["....", "#..#", "####"]], ids=range(5)
)
def test_an_invalid_maze_is_refused(layout: list[str]) -> None:
    with pytest.raises(ValueError, match="maze"):
        Maze(layout)
