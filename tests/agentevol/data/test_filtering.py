"""The filter keeps successes and counts the rest; the merge knows its three ways and drops duplicates."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentevol.data.coverage import Coverage, coverage
from agentevol.data.filtering import filter_by_reward
from agentevol.data.merging import merge
from agentevol.data.subset import first_instructions
from agentevol.data.trajectory import Trajectory
from envs.base import Instruction
from tests.agentevol.counting import Counting, play_counting

pytestmark = pytest.mark.usefixtures("counting")

WON = play_counting(4, ["5"])
OTHER_WAY = play_counting(4, ["7", "5"], sample=1)
AGAIN = play_counting(4, ["5"], sample=2)
HARD = play_counting(5, ["6", "7"])
LOST = play_counting(6, ["x", "x", "x", "x"])


def test_the_filter_keeps_every_different_success_and_counts_the_rest_by_reason() -> None:
    fault = play_counting(8, ["9"], status="error", error="the engine went away")
    gave_up = play_counting(6, ["x"], status="finished")
    kept, report = filter_by_reward([LOST, WON, OTHER_WAY, AGAIN, fault, gave_up, HARD])
    assert kept == [WON, OTHER_WAY, HARD]
    assert report.dropped == {"error": 1, "failed": 1, "truncated": 1, "duplicate": 1, "over the cap": 0}
    assert (report.episodes, report.kept) == (7, 3)


def test_the_rule_of_the_environment_decides_not_the_flag() -> None:
    kept, _ = filter_by_reward([play_counting(6, ["x"], success=True)])
    assert kept == []


def test_the_cap_takes_the_first_ones_of_each_instruction() -> None:
    kept, report = filter_by_reward([WON, AGAIN, OTHER_WAY, HARD], cap=1)
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
    cut = play_counting(4, ["5"], status="truncated")
    assert filter_by_reward([cut])[0] == [cut]


@pytest.mark.parametrize(
    ("how", "expected"),
    [("initial", [WON, HARD]), ("cumulative", [WON, OTHER_WAY, HARD]), ("none", [HARD, AGAIN])],
)
def test_the_three_ways_to_merge(how: str, expected: list[object]) -> None:
    rows, report = merge([WON], [[OTHER_WAY], [HARD, AGAIN]], how)  # type: ignore[arg-type]
    assert rows == expected
    assert report.rows == report.initial + report.explored - report.duplicates == len(expected)


def test_a_merge_reads_only_what_its_rule_needs() -> None:
    def unread() -> Iterator[Trajectory]:
        raise AssertionError("read")
        yield WON

    assert merge([WON], [unread(), [HARD]], "initial")[0] == [WON, HARD]
    assert merge(unread(), [unread(), [HARD]], "none")[0] == [HARD]


def test_behavioural_cloning_merges_nothing() -> None:
    assert merge([WON, AGAIN], [], "initial")[0] == [WON]


def test_the_head_of_a_set_counts_instructions_not_rows() -> None:
    assert first_instructions([WON, OTHER_WAY, HARD, LOST], ["counting"], 2) == [WON, OTHER_WAY, HARD]
    assert first_instructions([WON], ["maze"]) == []
    assert first_instructions(Counting.instructions("train_large"), ["counting"], 4) == list(Counting.instructions("train"))
