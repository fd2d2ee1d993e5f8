"""Seeds share instructions: the statistics agree with brute force on small cases, and hold their level and coverage in simulations."""

from __future__ import annotations

from itertools import product
from math import nan

import numpy as np
import pytest
from scipy.stats import binomtest

from agentevol.evaluation import clusters
from agentevol.evaluation.clusters import cluster_bootstrap, compare_over_seeds, score_over_seeds, share_interval, sign_flip_test
from agentevol.evaluation.paired_tests import level_of_test, mcnemar, mcnemar_from_counts
from agentevol.evaluation.scores import score, wilson
from tests.agentevol.evaluation.test_scores import episode


@pytest.mark.parametrize("differences", [[], [0, 0], [1], [1, 1, 1], [3, -1, 2, 0, 2], [2, 2, -3, 1, 1, -1, 3, 2], [-3, -2, -3, 1, -2]])
def test_the_sign_flip_test_is_the_share_of_all_choices_of_signs(differences: list[int]) -> None:
    observed = abs(sum(differences))
    sums = [sum(sign * size for sign, size in zip(signs, differences, strict=True)) for signs in product((1, -1), repeat=len(differences))]
    assert sign_flip_test(differences) == pytest.approx(np.mean([abs(value) >= observed for value in sums]))


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 0), (20, 5), (7, 12), (82, 28)])
def test_with_one_seed_the_sign_flip_test_is_the_exact_mcnemar_test(gained: int, lost: int) -> None:
    assert sign_flip_test([1] * gained + [-1] * lost + [0] * 50) == pytest.approx(mcnemar_from_counts(240, gained, lost).p_value)
    assert sign_flip_test([3] * gained + [-3] * lost) == pytest.approx(mcnemar_from_counts(240, gained, lost).p_value), (
        "equal seeds add nothing"
    )


def test_the_bootstrap_agrees_with_all_resamples_of_a_small_case() -> None:
    sums, counts = [3.0, 0.0, 1.0, 2.0, 0.0], [3, 3, 2, 3, 3]
    means = [sum(sums[i] for i in drawn) / sum(counts[i] for i in drawn) for drawn in product(range(5), repeat=5)]
    low, high = cluster_bootstrap(sums, counts)
    assert (low, high) == cluster_bootstrap(sums, counts), "seeded"
    # For five clusters the tail is the normal probability beyond Student's 2.776 x sqrt(5 / 4).
    assert low == pytest.approx(np.percentile(means, 0.0956), abs=0.02)
    assert high == pytest.approx(np.percentile(means, 100 - 0.0956), abs=0.02)
    with pytest.raises(ValueError, match="0 sums and 0 counts"):
        cluster_bootstrap([], [])


def test_for_many_clusters_the_bootstrap_is_the_normal_interval() -> None:
    sums = [3.0, 0.0] * 200
    low, high = cluster_bootstrap(sums, [3] * 400)
    half = 1.96 * 0.5 / 400**0.5
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.004)


def seeds_of(outcomes: list[list[int]]) -> list[list[object]]:
    """Episodes of each seed (a row) on each instruction (a column)."""
    return [[episode(number, bool(success)) for number, success in enumerate(row)] for row in outcomes]


def test_one_seed_has_wilson_intervals_and_several_have_wider_ones_than_their_pool() -> None:
    row = [1, 0, 0, 1, 0, 1, 0, 0, 0, 0] * 4
    assert score_over_seeds(seeds_of([row])) == score(seeds_of([row])[0])
    same = score_over_seeds(seeds_of([row, row, row]))["maze"]
    assert (same.n, same.successes, same.success) == (120, 36, 0.3)
    one = wilson(12, 40)
    assert (same.success_low, same.success_high) == pytest.approx(one, abs=0.04), "three equal seeds say as much as one"
    pooled = wilson(36, 120)
    assert same.success_high - same.success_low > 1.4 * (pooled[1] - pooled[0])


def test_equal_outcomes_of_all_episodes_have_the_interval_of_one_seed() -> None:
    none, every = (score_over_seeds(seeds_of([[success] * 25] * 3))["maze"] for success in (0, 1))
    assert (none.success_low, none.success_high) == wilson(0, 25)
    assert (every.success_low, every.success_high) == wilson(25, 25)
    almost_none = score_over_seeds(seeds_of([[1] + [0] * 24, [0] * 25, [0] * 25]))["maze"]
    assert almost_none.success_high >= wilson(1, 75)[1], "never narrower than independent episodes"


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7, 1 / 3])
def test_equal_shares_of_all_episodes_have_an_interval_also_where_one_is_missing(share: float) -> None:
    counts = [3] * 19 + [2]
    low, high = share_interval([sum([share] * count) for count in counts], counts)
    assert low < share - 0.01
    assert high > share + 0.01


def test_an_error_is_in_no_rate_and_in_no_pair_over_several_seeds() -> None:
    seeds = [[episode(1, True), episode(2, False, status="error")], [episode(1, False), episode(2, True)]]
    scores = score_over_seeds(seeds)["maze"]
    assert (scores.n, scores.errors, scores.success) == (3, 1, pytest.approx(2 / 3))
    test = compare_over_seeds([(seed, [episode(1, False), episode(2, False)]) for seed in seeds])["overall"]
    assert (test.n, test.clusters, test.only_a, test.only_b) == (3, 2, 2, 0)
    only_errors = score_over_seeds([[episode(1, False, status="error")]] * 2)["maze"]
    assert (only_errors.n, only_errors.errors) == (0, 2)
    assert compare_over_seeds([([], [])])["overall"].to_dict()["difference_low"] is None


def test_the_comparison_over_seeds_is_per_environment_and_has_its_interval() -> None:
    a = [[episode(number, number < 20) for number in range(40)] + [episode(1, True, env="wordle")] for _ in range(3)]
    b = [[episode(number, number < 8) for number in range(40)] + [episode(1, True, env="wordle")] for _ in range(3)]
    tests = compare_over_seeds(list(zip(a, b, strict=True)))
    assert list(tests) == ["maze", "wordle", "overall"]
    maze = tests["maze"]
    assert (maze.n, maze.clusters, maze.only_a, maze.only_b, maze.difference) == (120, 40, 36, 0, pytest.approx(0.3))
    assert maze.p_value == pytest.approx(mcnemar(a[0], b[0]).p_value), "three equal seeds say as much as one"
    assert maze.p_value > 1000 * mcnemar_from_counts(120, 36, 0).p_value
    assert 0.14 < maze.difference_low < 0.18 < 0.42 < maze.difference_high < 0.46
    assert (tests["wordle"].p_value, tests["wordle"].difference_low, tests["wordle"].difference_high) == (1.0, 0, 0)


def simulate(generator: np.random.Generator, rate: float, instructions: int, seeds: int = 3) -> np.ndarray:
    """Successes by instruction and seed: an instruction has a difficulty of its own that its seeds share (Beta, correlation 0.5)."""
    difficulty = generator.beta(rate, 1 - rate, size=instructions)
    return np.asarray(generator.random((instructions, seeds)) < difficulty[:, None])


@pytest.mark.parametrize(("rate", "instructions"), [(0.1, 25), (0.3, 25), (0.5, 60)])
def test_the_intervals_cover_the_true_rate_where_pooled_ones_do_not(
    rate: float, instructions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "RESAMPLES", 1000)  # for speed
    generator, runs, covered, pooled = np.random.default_rng(7), 400, 0, 0
    for _ in range(runs):
        outcomes = simulate(generator, rate, instructions)
        low, high = clusters.rate_interval(outcomes.sum(axis=1).tolist(), [3] * instructions)
        covered += low <= rate <= high
        low, high = wilson(int(outcomes.sum()), outcomes.size)
        pooled += low <= rate <= high
    assert covered >= binomtest_bound(runs, 0.93)
    assert pooled < 0.9 * runs


def test_the_test_holds_its_level_where_pooled_pairs_do_not() -> None:
    """Two policies of the same overall rate, of which each is better on some instructions, in all seeds."""
    generator, runs, rejected, pooled = np.random.default_rng(8), 400, 0, 0
    for _ in range(runs):
        advantage = generator.choice([-0.4, 0.4], size=60)
        a, b = (generator.random((60, 3)) < (0.5 + sign * advantage / 2)[:, None] for sign in (1, -1))
        rejected += sign_flip_test((a.sum(axis=1) - b.sum(axis=1)).astype(int).tolist()) < 0.05
        pooled += mcnemar_from_counts(180, int((a & ~b).sum()), int((b & ~a).sum())).p_value < 0.05
    assert rejected <= runs - binomtest_bound(runs, 0.95)
    assert pooled > 1.5 * 0.05 * runs


def binomtest_bound(runs: int, rate: float) -> int:
    """The smallest count that does not contradict the rate at the 0.1 % level."""
    return next(count for count in range(runs + 1) if binomtest(count, runs, rate, alternative="less").pvalue > 0.001)


def test_the_levels_of_a_sequence_of_tests_add_up() -> None:
    levels = [level_of_test(number, 0.05) for number in range(1, 2001)]
    assert levels[:3] == pytest.approx([0.025, 0.05 / 6, 0.05 / 12])
    assert 0.0499 < sum(levels) <= 0.05
    assert nan not in levels
