"""Rates, p-values and differences are written in one way everywhere."""

from __future__ import annotations

import pytest

from agentevol.evaluation.paired_tests import mcnemar_from_counts
from agentevol.report.formatting import format_count, format_duration, format_p_equation, format_p_value, format_points, format_rate

SCORE = {"n": 40, "success": 0.25, "success_low": 0.1419, "success_high": 0.4019}


def test_a_rate_has_its_interval() -> None:
    assert format_rate(SCORE) == "25.0 [14, 40]"
    assert format_rate(SCORE, digits=1, unit=" %") == "25.0 % [14.2, 40.2]"


@pytest.mark.parametrize("score", [None, {}, {"n": 0, "success": None}])
def test_without_a_scored_episode_there_is_no_rate(score: dict[str, object] | None) -> None:
    assert format_rate(score) == "-"
    assert format_rate(score, missing="") == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.00"),
        (0.25, "0.25"),
        (0.1, "0.10"),
        (0.0999, "0.100"),
        (0.021, "0.021"),
        (0.001, "0.001"),
        (0.0009, "< 0.001"),
        (0.0, "< 0.001"),
    ],
)
def test_a_p_value_has_three_decimals_below_one_tenth_and_a_lower_bound(value: float, text: str) -> None:
    assert format_p_value(value) == text
    assert format_p_equation(value) == (f"p {text}" if value < 0.001 else f"p = {text}")


def test_a_difference_has_its_sign_and_zero_has_none() -> None:
    assert format_points(mcnemar_from_counts(240, 45, 25)) == "+8.3"
    assert format_points(mcnemar_from_counts(240, 25, 45)) == "-8.3"
    assert format_points(mcnemar_from_counts(3000, 1, 0)) == format_points(mcnemar_from_counts(3000, 0, 1)) == "0.0"
    assert format_points(mcnemar_from_counts(0, 0, 0)) == "-"


def test_counts_and_durations_are_written_with_their_units() -> None:
    assert (format_count(1, "seed"), format_count(3, "seed")) == ("1 seed", "3 seeds")
    assert [format_duration(seconds) for seconds in (8.06, 725.0, 3720.0)] == ["8.1 s", "12 min 05 s", "1 h 02 min"]
