"""The summary of an exploration counts instructions that no episode was spent on, and those without an expert trajectory."""

from __future__ import annotations

from agentevol.data.exploration import ExplorationGroup, summarize_exploration
from agentevol.report.exploration import exploration_by_difficulty, exploration_rows
from envs.base import Instruction
from tests.agentevol.counting import Counting, play_counting

ITEMS: list[Instruction] = [Counting.instruction(f"counting_{number}") for number in range(3, 9)]  # hard: 3, 5, 7; easy: 4, 6, 8


def test_episodes_coverage_and_successes_without_an_expert_are_counted_by_difficulty() -> None:
    episodes = [
        play_counting(4, ["5"]),
        play_counting(4, ["9", "5"], sample=1),
        play_counting(6, ["x"]),
        play_counting(6, ["7"], sample=1, status="error", error="gone"),
        play_counting(7, ["8", "9"]),
    ]
    easy, hard = summarize_exploration(episodes, ITEMS, {"counting_4", "counting_5"})
    assert easy == ExplorationGroup("counting", "easy", 3, 4, 2, 1, without_expert=2, covered_without_expert=0)
    assert hard == ExplorationGroup("counting", "hard", 3, 1, 1, 1, without_expert=2, covered_without_expert=1)

    exploration = {"Iteration 1": [easy, hard], "Iteration 2": [easy, hard]}
    _, rows = exploration_rows(exploration)
    assert rows[0] == ["Iteration 1", "5", "3 of 6 (50 %)", "2 of 6 (33 %)", "1 of 4 (25 %)"]
    header, rows = exploration_by_difficulty(exploration)
    assert header[2:] == ["Iteration 1", "Iteration 2"]
    assert rows[0] == ["counting, easy", "3", "4, 33 %", "4, 33 %"]


def test_an_expert_set_of_all_instructions_leaves_none_without() -> None:
    groups = summarize_exploration([], ITEMS, {item.item_id for item in ITEMS})
    assert [(group.instructions, group.episodes, group.without_expert) for group in groups] == [(3, 0, 0), (3, 0, 0)]
    assert exploration_rows({"Iteration 1": groups})[1] == [["Iteration 1", "0", "0 of 6 (0 %)", "0 of 6 (0 %)", "0 of 0"]]
