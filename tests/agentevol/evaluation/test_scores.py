"""The statistics agree with SciPy and with published values; episodes that ended in an error are not scored."""

from __future__ import annotations

from math import inf

import pytest
from scipy.stats import binomtest

from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.paired_tests import holm, mcnemar, mcnemar_from_counts, mcnemar_per_environment
from agentevol.evaluation.rounds_per_success import rounds_per_success
from agentevol.evaluation.scores import bootstrap_mean, mean_share_interval, score, wilson


def episode(number: int, success: bool, env: str = "maze", **changes: object) -> Trajectory:
    values: dict[str, object] = {"status": "finished", "sample": 0, "rounds": 2, **changes}
    return Trajectory(
        item_id=f"{env}_{number}",
        env=env,
        task_type="",
        split="eval",
        policy="p",
        policy_hash="h",
        iteration=0,
        messages=[],
        reward=float(success),
        success=success,
        **values,
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(("successes", "n"), [(0, 25), (25, 25), (1, 1), (41, 100), (113, 240)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_without_observations_is_zero_to_one_and_invalid_counts_are_refused() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 successes of 2"):
        wilson(3, 2)


def test_the_bootstrap_is_repeatable_and_near_the_normal_interval() -> None:
    values = [0.0, 1.0] * 100
    low, high = bootstrap_mean(values)
    assert (low, high) == bootstrap_mean(values)
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.0354, 0.5 + 1.96 * 0.0354), abs=0.01)
    assert bootstrap_mean([0.25, 0.25]) == (0.25, 0.25)
    with pytest.raises(ValueError, match="no values"):
        bootstrap_mean([])


def test_scores_are_per_environment_and_overall_and_without_errors() -> None:
    scores = score([episode(1, True), episode(2, False), episode(3, False, status="error"), episode(1, True, env="wordle", rounds=5)])
    assert list(scores) == ["maze", "wordle", "overall"]
    assert (scores["maze"].n, scores["maze"].successes, scores["maze"].success, scores["maze"].errors) == (2, 1, 0.5, 1)
    assert (scores["overall"].n, scores["overall"].rounds) == (3, 3.0)


def test_progress_is_the_mean_of_the_episodes_that_have_one_and_absent_without() -> None:
    measured = [episode(number, number == 0, progress=1.0 if number == 0 else 0.25) for number in range(4)]
    scores = score([*measured, episode(4, False, status="error"), episode(1, True, env="bird")])
    assert (scores["maze"].progress, scores["maze"].progress_n) == (0.4375, 4)
    assert 0.25 <= scores["maze"].progress_low < 0.4375 < scores["maze"].progress_high <= 1
    assert (scores["overall"].progress, scores["overall"].progress_n, scores["overall"].n) == (0.4375, 4, 5)
    assert not [name for name in scores["bird"].to_dict() if name.startswith("progress")], "scores without it stay as they were"


def test_equal_progress_of_few_episodes_has_an_interval_with_a_width() -> None:
    assert mean_share_interval([1.0] * 10) == pytest.approx((wilson(10, 10)[0], 1.0))
    assert mean_share_interval([0.0] * 10) == pytest.approx((0.0, wilson(0, 10)[1]))
    low, high = mean_share_interval([0.5] * 10)
    assert low < 0.5 < high


def test_rounds_per_success_counts_the_rounds_of_failures_and_no_errors() -> None:
    episodes = [episode(number, number % 2 == 0, rounds=3) for number in range(40)]
    measured = rounds_per_success([*episodes, episode(99, False, status="error", rounds=50), episode(1, False, env="wordle")])
    assert measured["maze"].ratio == 6
    assert 4 < measured["maze"].low < 6 < measured["maze"].high < 10
    assert measured == rounds_per_success([*episodes, episode(1, False, env="wordle")]), "the same intervals every time"
    assert (measured["wordle"].ratio, measured["wordle"].high) == (inf, inf), "no success at any price"


def test_rounds_per_success_has_an_interval_where_an_episode_ended_before_its_first_round() -> None:
    measured = rounds_per_success([episode(1, True, rounds=3), episode(2, False, rounds=0, status="truncated")])["maze"]
    assert (measured.ratio, measured.low, measured.high) == (3, 3, inf)


def test_an_environment_with_errors_only_has_no_rate() -> None:
    only = score([episode(1, False, status="error")])["maze"]
    assert (only.n, only.errors) == (0, 1)
    assert only.to_dict()["success"] is None


def test_mcnemar_agrees_with_the_exact_binomial_test() -> None:
    a = [episode(number, number < 45) for number in range(100)]
    b = [episode(number, 20 <= number < 50) for number in range(100)]
    result = mcnemar(a, b)
    assert (result.n, result.only_a, result.only_b) == (100, 20, 5)
    assert result.p_value == pytest.approx(binomtest(5, 25).pvalue)
    assert result.difference == pytest.approx(0.15)


def test_a_pair_needs_both_episodes_without_an_error() -> None:
    a = [episode(1, True), episode(2, True), episode(3, True), episode(1, True, env="wordle")]
    b = [episode(1, False), episode(2, False, status="error"), episode(9, True)]
    results = mcnemar_per_environment(a, b)
    assert list(results) == ["maze", "overall"]
    assert (results["maze"].n, results["maze"].only_a, results["maze"].p_value) == (1, 1, 1.0)


def test_the_same_episode_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="maze_1, sample 0 is given twice"):
        mcnemar([episode(1, True), episode(1, False)], [])


def test_a_policy_compared_with_itself_has_p_one() -> None:
    same = [episode(number, number % 3 == 0) for number in range(30)]
    assert mcnemar(same, same).p_value == 1.0


def test_holm_corrects_and_keeps_the_order() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


def test_a_test_without_a_pair_has_null_as_its_difference() -> None:
    assert mcnemar_from_counts(0, 0, 0).to_dict() == {"n": 0, "only_a": 0, "only_b": 0, "p_value": 1.0, "difference": None}
