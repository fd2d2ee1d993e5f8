"""Statistics over several seeds: the unit is the instruction, because the seeds share their instructions.

An instruction that is easy for one seed is easy for the others, so 3 x 240 episodes are not 720 independent ones. Intervals come from a
bootstrap that draws instructions with the episodes of all seeds; tests flip the sign of an instruction's differences in all seeds at once.

Invariant: with one seed the results are those of a single run: Wilson intervals, and the exact McNemar test. Nothing is drawn without a
fixed seed. The seeds themselves are fixed: an interval is about other instructions, not about other seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from operator import itemgetter
from typing import Any

from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.paired_tests import PairedTest, mcnemar_from_counts, paired_episodes
from agentevol.evaluation.scores import Score, per_environment, score, wilson

RESAMPLES = 10_000
_ROUNDING = 1e-9
"""Equal shares have sums that differ by less, where the clusters have different sizes."""


@dataclass(frozen=True, slots=True)
class ClusteredTest(PairedTest):
    """A paired test over several seeds. `n`, `only_a` and `only_b` count pairs of episodes, `clusters` the instructions they are on.

    `p_value`: two-sided, by exact sign flips over the instructions. `difference_low`, `difference_high`: the 95 % interval of the
    difference, by a bootstrap over the instructions; NaN without a pair.
    """

    clusters: int
    difference_low: float
    difference_high: float


def score_over_seeds(seeds: Sequence[Iterable[Trajectory]]) -> dict[str, Score]:
    """The score of a policy over the episodes of all seeds, per environment and overall. `seeds`: the episodes of each seed.

    With several seeds the intervals are from a bootstrap over instructions, with one seed they are those of `score`.
    """
    episodes = [list(of_seed) for of_seed in seeds]
    if len(episodes) == 1:
        return score(episodes[0])
    return per_environment([episode for of_seed in episodes for episode in of_seed], lambda episode: episode.env, _score)


def compare_over_seeds(seeds: Iterable[tuple[Sequence[Trajectory], Sequence[Trajectory]]]) -> dict[str, ClusteredTest]:
    """The paired tests of policy a against policy b, per environment and overall. `seeds`: the episodes of a and of b, for each seed."""
    pairs = [pair for a, b in seeds for pair in paired_episodes(a, b)]
    return per_environment(pairs, lambda pair: pair[0].env, _compare)


def cluster_bootstrap(sums: Sequence[float], counts: Sequence[int], seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean over clusters of unequal size, sum(sums) / sum(counts), by drawing clusters: (low, high).

    The percentiles are those of Student's t with the usual n / (n - 1) for the variance, because plain percentiles are too narrow for few
    clusters (Hesterberg 2015, the expanded percentile interval). Raises ValueError without a cluster.
    """
    import numpy as np

    if not sums or len(sums) != len(counts):
        raise ValueError(f"{len(sums)} sums and {len(counts)} counts: expected the same number, and at least one")
    totals, sizes = np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    size = len(totals)
    generator, means = np.random.default_rng(seed), []
    for _ in range(RESAMPLES // 500):
        drawn = generator.integers(size, size=(500, size))
        means.append(totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    tail = 100 * _lower_tail(size)
    low, high = np.percentile(np.concatenate(means), [tail, 100 - tail])
    return float(low), float(high)


def rate_interval(sums: Sequence[float], counts: Sequence[int]) -> tuple[float, float]:
    """The 95 % interval of a success rate: the bootstrap's, and never a narrower one than that of as many independent episodes.

    `sums`: successes of each cluster; `counts`: its episodes. Where all episodes have the same outcome, resampling shows no spread: the
    interval is Wilson's for one episode in each cluster.
    """
    successes, n = round(sum(sums)), sum(counts)
    if successes in (0, n):
        return wilson(len(sums) if successes else 0, len(sums))
    (low, high), (wilson_low, wilson_high) = cluster_bootstrap(sums, counts), wilson(successes, n)
    return min(low, wilson_low), max(high, wilson_high)


def share_interval(sums: Sequence[float], counts: Sequence[int]) -> tuple[float, float]:
    """The 95 % interval of the mean of shares in [0, 1]: the bootstrap's; where resampling shows no spread, Wilson's for one share in each
    cluster. `sums`: of the shares of each cluster; `counts`: how many it has."""
    low, high = cluster_bootstrap(sums, counts)
    if high - low > _ROUNDING:
        return low, high
    size = len(sums)
    return low * wilson(size, size)[0], high + (1 - high) * wilson(0, size)[1]


def sign_flip_test(differences: Sequence[int]) -> float:
    """The two-sided p-value of the hypothesis that the differences of the clusters are symmetric about zero.

    `differences`: one whole number per cluster, e.g. the successes of a minus those of b over the seeds. Exact: the probability, over all
    equally likely choices of signs, of a sum at least as far from zero. With differences of -1, 0 and 1 this is the exact McNemar test.
    """
    import numpy as np

    steps = [abs(difference) for difference in differences if difference]
    total, observed = sum(steps), abs(sum(differences))
    distribution = np.zeros(2 * total + 1)  # of the sum, shifted by `total`
    distribution[total] = 1.0
    for step in steps:
        distribution = (np.roll(distribution, step) + np.roll(distribution, -step)) / 2  # nothing wraps: the sum is at most `total`
    distances = np.abs(np.arange(-total, total + 1))
    return min(1.0, float(distribution[distances >= observed].sum()))


def _lower_tail(size: int) -> float:
    """The probability below the lower bound: 0.025 for many clusters, less for few."""
    from scipy.special import ndtr, stdtrit

    if size < 2:
        return 0.0
    return float(ndtr(sqrt(size / (size - 1)) * stdtrit(size - 1, 0.025)))


def _by_instruction(items: Sequence[Any], item_id: Callable[[Any], str], value: Callable[[Any], float]) -> tuple[list[float], list[int]]:
    """(sums, counts) of the values of each instruction, in the order of the ids."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for item in items:
        key = item_id(item)
        sums[key] = sums.get(key, 0.0) + value(item)
        counts[key] = counts.get(key, 0) + 1
    keys = sorted(sums)
    return [sums[key] for key in keys], [counts[key] for key in keys]


def _score(episodes: list[Trajectory]) -> Score:
    scored = [episode for episode in episodes if episode.status != "error"]
    n, errors = len(scored), len(episodes) - len(scored)
    if not n:
        return Score(0, 0, nan, nan, nan, nan, nan, nan, nan, errors)
    successes, reward, rounds = (sum(values) for values in zip(*((e.success, e.reward, e.rounds) for e in scored), strict=True))
    interval = rate_interval(*_by_instruction(scored, lambda episode: episode.item_id, lambda episode: float(episode.success)))
    reward_interval = cluster_bootstrap(*_by_instruction(scored, lambda episode: episode.item_id, lambda episode: episode.reward))
    measured = [(episode.item_id, episode.progress) for episode in scored if episode.progress is not None]
    progress: tuple[float, float, float, int] | tuple[()] = ()
    if measured:
        mean = sum(value for _, value in measured) / len(measured)
        progress = (mean, *share_interval(*_by_instruction(measured, itemgetter(0), itemgetter(1))), len(measured))
    return Score(n, successes, successes / n, *interval, reward / n, *reward_interval, rounds / n, errors, *progress)


def _compare(pairs: list[tuple[Trajectory, Trajectory]]) -> ClusteredTest:
    only_a = sum(a.success and not b.success for a, b in pairs)
    only_b = sum(b.success and not a.success for a, b in pairs)
    pooled = mcnemar_from_counts(len(pairs), only_a, only_b)
    sums, counts = _by_instruction(pairs, lambda pair: pair[0].item_id, lambda pair: float(pair[0].success) - float(pair[1].success))
    interval = cluster_bootstrap(sums, counts) if sums else (nan, nan)
    p_value = sign_flip_test([round(value) for value in sums])
    return ClusteredTest(pooled.n, pooled.only_a, pooled.only_b, p_value, pooled.difference, len(sums), *interval)
