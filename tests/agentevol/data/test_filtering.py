"""The filter keeps successes and counts the dropped episodes; the three ways to merge, and duplicates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from agentevol.data.coverage import Coverage, coverage
from agentevol.data.episode_reward import episode_reward
from agentevol.data.filtering import filter_by_reward
from agentevol.data.merging import merge
from agentevol.data.subset import first_instructions
from agentevol.data.trajectory import TEXT_ONLY, Message, Trajectory
from agentevol.settings.filter import FilterParams
from envs.base import Instruction
from tests.agentevol.counting import Counting, play_counting

pytestmark = pytest.mark.usefixtures("counting")

WON = play_counting(4, ["5"])
OTHER_ANSWERS = play_counting(4, ["7", "5"], sample=1)
SAME_ANSWERS = play_counting(4, ["5"], sample=2)
HARD = play_counting(5, ["6", "7"])
LOST = play_counting(6, ["x", "x", "x", "x"])


def test_the_filter_keeps_different_successes_and_counts_dropped_episodes_by_reason() -> None:
    error = play_counting(8, ["9"], status="error", error="the engine went away")
    gave_up = play_counting(6, ["x"], status="finished")
    kept, report = filter_by_reward([LOST, WON, OTHER_ANSWERS, SAME_ANSWERS, error, gave_up, HARD])
    assert kept == [WON, OTHER_ANSWERS, HARD]
    assert report.dropped == {"error": 1, "failed": 1, "truncated": 1, "duplicate": 1, "over the cap": 0}
    assert (report.episodes, report.kept) == (7, 3)


def test_positive_keeps_partial_rewards_and_all_keeps_failures_but_neither_errors_nor_episodes_without_an_answer() -> None:
    error = play_counting(8, ["9"], status="error", error="the engine went away")
    partial = replace(LOST, reward=0.5)
    silent = replace(LOST, messages=LOST.messages[:1])
    episodes = [LOST, WON, SAME_ANSWERS, error, partial, silent]
    kept, report = filter_by_reward(episodes, settings=FilterParams(keep="positive"))
    assert kept == [WON, partial]
    assert report.dropped == {"error": 1, "failed": 0, "truncated": 2, "duplicate": 1, "over the cap": 0}
    kept, report = filter_by_reward(episodes, settings=FilterParams(keep="all"))
    assert kept == [LOST, WON]
    assert (report.dropped["duplicate"], report.dropped["truncated"]) == (2, 1)


def test_progress_as_the_reward_keeps_failures_that_came_somewhere() -> None:
    half, nowhere = replace(LOST, progress=0.5), replace(LOST, progress=0.0, messages=[*LOST.messages[:1], *LOST.messages[1:3]])
    kept, report = filter_by_reward([half, nowhere, WON], settings=FilterParams(keep="positive", reward="progress"))
    assert kept == [half, WON]
    assert report.dropped["truncated"] == 1
    assert filter_by_reward([half, WON], settings=FilterParams(keep="positive"))[0] == [WON], "the environment's reward is 0"


def test_a_cap_keeps_the_best_by_the_objective_and_the_first_without_one() -> None:
    slow, quick = play_counting(5, ["x", "6", "7"]), HARD
    assert (slow.rounds, quick.rounds) == (3, 2)
    episodes = [slow, quick, replace(quick, sample=3), WON]
    kept, report = filter_by_reward(episodes, cap=1, settings=FilterParams(objective={"success": 1, "rounds": -0.1}))
    assert kept == [quick, WON]
    assert (report.dropped["over the cap"], report.dropped["duplicate"]) == (1, 1)
    assert filter_by_reward(episodes, cap=1)[0] == [slow, WON]


def test_a_ranked_episode_is_valued_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value may take a replay of the episode."""
    valued: list[Trajectory] = []

    def counted(trajectory: Trajectory, objective: object) -> float:
        valued.append(trajectory)
        return episode_reward(trajectory, objective)  # type: ignore[arg-type]

    monkeypatch.setattr("agentevol.data.filtering.episode_reward", counted)
    episodes = [LOST, WON, OTHER_ANSWERS, HARD]
    settings = FilterParams(keep="positive", objective={"success": 1, "rounds": -0.1})
    kept, report = filter_by_reward(episodes, cap=1, settings=settings)
    assert kept == [WON, HARD]
    assert (report.dropped["over the cap"], report.dropped["truncated"]) == (1, 1)
    assert valued == episodes


def test_without_deduplication_an_episode_counts_as_often_as_it_was_sampled() -> None:
    kept, report = filter_by_reward([WON, SAME_ANSWERS, HARD], settings=FilterParams(deduplicate=False))
    assert kept == [WON, SAME_ANSWERS, HARD]
    assert report.dropped["duplicate"] == 0
    rows, merged = merge([WON], [[SAME_ANSWERS, HARD]], "initial", deduplicate=False)
    assert rows == [WON, SAME_ANSWERS, HARD]
    assert (merged.rows, merged.duplicates) == (3, 0)


def test_the_success_rule_of_the_environment_decides_and_not_the_success_field() -> None:
    kept, _ = filter_by_reward([play_counting(6, ["x"], success=True)])
    assert kept == []


def test_the_cap_keeps_the_first_successes_of_each_instruction() -> None:
    kept, report = filter_by_reward([WON, SAME_ANSWERS, OTHER_ANSWERS, HARD], cap=1)
    assert kept == [WON, HARD]
    assert report.dropped["over the cap"] == 1


def test_coverage_is_over_the_explored_instructions_by_difficulty() -> None:
    _, report = filter_by_reward([LOST, WON, HARD])
    assert report.coverage == [Coverage("counting", "easy", 2, 1), Coverage("counting", "hard", 1, 1)]


def test_coverage_lists_difficulties_in_their_natural_order() -> None:
    items = [
        Instruction(f"maze_{place}", "maze", "maze", difficulty, "") for place, difficulty in enumerate(["10-14", "5-9", "1-4", "any"])
    ]
    assert [part.difficulty for part in coverage([], items)] == ["any", "1-4", "5-9", "10-14"]


def test_a_truncated_success_is_kept() -> None:
    truncated = play_counting(4, ["5"], status="truncated")
    assert filter_by_reward([truncated])[0] == [truncated]


@pytest.mark.parametrize(
    ("how", "expected"),
    [("initial", [WON, HARD]), ("cumulative", [WON, OTHER_ANSWERS, HARD]), ("none", [HARD, SAME_ANSWERS])],
)
def test_the_three_ways_to_merge(how: str, expected: list[object]) -> None:
    rows, report = merge([WON], [[OTHER_ANSWERS], [HARD, SAME_ANSWERS]], how)  # type: ignore[arg-type]
    assert rows == expected
    assert report.rows == report.initial + report.explored - report.duplicates == len(expected)


def test_a_merge_does_not_read_streams_that_it_does_not_use() -> None:
    def unread() -> Iterator[Trajectory]:
        raise AssertionError("read")
        yield WON

    assert merge([WON], [unread(), [HARD]], "initial")[0] == [WON, HARD]
    assert merge(unread(), [unread(), [HARD]], "none")[0] == [HARD]


def test_without_explorations_duplicates_are_removed() -> None:
    assert merge([WON, SAME_ANSWERS], [], "initial")[0] == [WON]


def test_rows_of_two_files_with_the_same_number_and_answer_are_no_duplicates() -> None:
    row = replace(WON, env=TEXT_ONLY, item_id="messages/1")
    other = replace(row, messages=[Message("user", "Another question?"), *row.messages[1:]])
    assert merge([row], [[other, replace(other)]], "cumulative")[0] == [row, other]


def test_a_subset_counts_instructions_and_not_rows() -> None:
    assert first_instructions([WON, OTHER_ANSWERS, HARD, LOST], ["counting"], 2) == [WON, OTHER_ANSWERS, HARD]
    assert first_instructions([WON], ["maze"]) == []
    assert first_instructions(Counting.instructions("train_large"), ["counting"], 4) == list(Counting.instructions("train"))


def test_a_minimum_leaves_out_episodes_with_a_small_reward_and_says_so() -> None:
    rows = [
        replace(play_counting(6, [str(n), "x"]), reward=0.0, success=False, status="finished", predicted_success=n / 10) for n in (2, 5, 9)
    ]
    settings = FilterParams(keep="positive", reward="learned", min_reward=0.5)
    kept, report = filter_by_reward(rows, settings=settings)
    assert [row.predicted_success for row in kept] == [0.5, 0.9]
    assert report.dropped["reward too low"] == 1
