"""What an episode is worth to learning: objectives, and the progress of episodes that were recorded without it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentevol.data.episode_reward import ProgressUnknown, episode_progress, episode_reward
from agentevol.data.experts import play_expert
from agentevol.data.trajectory import TEXT_ONLY, Message, Trajectory
from envs import environment_class, make
from envs.maze import Maze
from tests.agentevol.counting import play_counting


def walk(number_of_steps: int) -> tuple[Trajectory, float]:
    """An episode of the first steps of a maze's shortest path, recorded without its progress, and that progress."""
    item = environment_class("maze").instructions("train")[0]
    env: Any = make("maze")
    env.reset(options={"item_id": item.item_id})
    messages = [Message("user", "maze")]
    for direction in env.path_to_goal()[:number_of_steps]:
        messages += [Message("assistant", f"Thought: on.\nAction: move {direction}", True), Message("user", "ok")]
        env.answer(messages[-2].content)
    expert = play_expert("maze", item)
    return replace(expert, messages=messages, reward=0.0, success=False, status="truncated", policy="p"), env.progress


def test_without_an_objective_the_reward_is_the_environments_own() -> None:
    assert episode_reward(replace(play_counting(4, ["5"]), reward=0.3, progress=0.9), None) == 0.3


def test_an_objective_is_the_weighted_sum_of_its_parts() -> None:
    won = replace(play_counting(4, ["5"]), reward=0.8, rounds=7)
    assert episode_reward(won, {"success": 1, "rounds": -0.01}) == pytest.approx(0.93)
    lost = replace(won, success=False, reward=0.25, progress=0.5)
    assert episode_reward(lost, {"success": 1, "progress": 0.5, "reward": 2, "rounds": -0.01}) == pytest.approx(0.25 + 0.5 - 0.07)


def test_an_expert_row_without_progress_counts_as_a_success(counting: str) -> None:
    assert episode_progress(play_expert("maze", environment_class("maze").instructions("train")[0])) == 1.0
    assert episode_progress(play_counting(6, ["x"])) == 0.0, "a failure where nothing is measured"


def test_a_failure_that_was_recorded_without_progress_is_played_again() -> None:
    episode, progress = walk(3)
    assert 0 < progress < 1
    assert episode_progress(episode) == progress
    assert episode_progress(replace(episode, progress=0.125)) == 0.125, "a recorded one is not measured again"


def test_the_learned_reward_is_the_prediction_and_an_experts_is_one() -> None:
    lost = play_counting(6, ["x"])
    assert episode_reward(replace(lost, predicted_success=0.25, rounds=10), {"learned": 1, "rounds": -0.01}) == pytest.approx(0.15)
    assert episode_reward(play_counting(4, ["5"]), {"learned": 1}) == 1.0
    assert episode_reward(lost, {"learned": 1}) == 0.0, "a failure in a set that no verifier judges, such as those of data.extra"


@pytest.mark.parametrize("objective", [{"learned": 1}, {"success": 1, "rounds": -0.01}, {"progress": 1}])
def test_an_imported_conversation_keeps_its_reward(objective: dict[str, float]) -> None:
    conversation = replace(play_counting(4, ["5"]), env=TEXT_ONLY, reward=0.5, success=False)
    assert episode_reward(conversation, objective) == 0.5


def test_an_episode_that_cannot_be_played_again_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    episode, _ = walk(3)
    with pytest.raises(ProgressUnknown, match=r"maze_\d+ \(sample 0\) .*give reward 0 here; explore again in an empty store"):
        episode_progress(replace(episode, reward=0.5))
    monkeypatch.setattr(Maze, "deterministic", False)
    with pytest.raises(ProgressUnknown, match="not deterministic"):
        episode_progress(episode)
