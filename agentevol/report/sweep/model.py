"""The data of a sweep's report: the policies of every setting and seed, and scores and tests over the seeds.

Invariant: a run of M iterations contains the shorter ones, so only the longest run of each setting and seed is read. Over several seeds
the unit of every interval and test is the instruction (evaluation/clusters.py), and each pair is of one seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentevol.data.exploration import ExplorationGroup
from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.clusters import ClusteredTest, compare_over_seeds, score_over_seeds
from agentevol.evaluation.paired_tests import PairedTest, mcnemar_per_environment
from agentevol.evaluation.scores import OVERALL, Score
from agentevol.report.model import BC_LARGE, ZERO_SHOT
from agentevol.report.verifier import Qualities
from agentevol.settings.types import ADAPTIVE

DEFAULT_SETTING = {"merge": "initial", "start_from": "base", "rule": "reward_weighted"}
_LABEL_PREFIXES = {"merge": "merge", "start_from": "from", "rule": "rule"}
_FAILURES_PER_ENVIRONMENT = 2


@dataclass(frozen=True, slots=True)
class Setting:
    """The parameters that a sweep varies, without M and the seed. `samples`: K as text, `3`, `3+2+1` for a schedule, or `adaptive`."""

    samples: str
    merge: str
    start_from: str
    rule: str

    def sort_key(self) -> tuple[Any, ...]:
        """The order in a report: by K as a number, adaptive last, and default values first."""
        values = {name: getattr(self, name) for name in DEFAULT_SETTING}
        others = ((value != DEFAULT_SETTING[name], value) for name, value in values.items())
        return self.samples == ADAPTIVE, [] if self.samples == ADAPTIVE else [int(number) for number in self.samples.split("+")], *others

    def label(self, settings: Iterable[Setting]) -> str:
        """`K = 3, merge cumulative`: K, and the values that are not the default and in which `settings` differ."""
        compared = list(settings)
        parts = [f"K = {self.samples}"]
        for name, prefix in _LABEL_PREFIXES.items():
            value = getattr(self, name)
            if value != DEFAULT_SETTING[name] and any(getattr(other, name) != value for other in compared):
                parts.append(f"{prefix} {value.replace('_', ' ')}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class StepCost:
    """The cost of one step (explore, learn or evaluate) for a policy, by its label.

    `output`: the path of the step's result; two runs with the same path share the work.
    """

    policy: str
    step: str
    output: str
    seconds: float
    episodes: int
    tokens: int
    trained_tokens: int


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One run of the sweep. `folder`: the folder of its report."""

    setting: Setting
    iterations: int
    seed: int
    folder: str
    costs: Sequence[StepCost] = ()


@dataclass(frozen=True, slots=True)
class SeedResult:
    """The policies of one setting and seed, from its longest run.

    `policies`: episodes on AgentEval by label, in the order zero-shot, BC-Base, Iteration 1, …, BC-Large; `hosted`: those of hosted models;
    `kept`: by label, the instructions with a successful trajectory that the iteration kept; `lineage`: by label, the entry of `run.json`;
    `selected`: the label of the policy that is best on the validation split, empty without one. `exploration`: by label, what the episodes
    reached that the iteration explored; empty where it was not recorded. `verifier`: by label, the quality of the iteration's verifier.
    """

    setting: Setting
    seed: int
    policies: Mapping[str, Sequence[Trajectory]]
    kept: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)
    hosted: Mapping[str, Sequence[Trajectory]] = field(default_factory=dict)
    selected: str = ""
    exploration: Mapping[str, Sequence[ExplorationGroup]] = field(default_factory=dict)
    verifier: Mapping[str, Qualities] = field(default_factory=dict)

    @property
    def all_policies(self) -> Mapping[str, Sequence[Trajectory]]:
        return {**self.policies, **self.hosted}

    @property
    def curve(self) -> list[str]:
        """The labels of iterations 0 to M; the first is BC-Base."""
        return [label for label in self.policies if label not in (ZERO_SHOT, BC_LARGE)]

    @property
    def final(self) -> str:
        """The label of the last iteration."""
        return self.curve[-1]

    def label_after(self, iterations: int) -> str:
        """The label of the policy after so many iterations, or of the last one if early stopping ended the run before."""
        return self.curve[min(iterations, len(self.curve) - 1)]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Everything that the report is made from. `explored`: the instructions to explore, as (env, difficulty, item_id).

    `random`: the episodes of the random baseline; `parameters`: those that all runs have in common, by dotted keys.
    """

    results: Sequence[SeedResult]
    runs: Sequence[SweepRun]
    random: Sequence[Trajectory] = ()
    explored: Sequence[tuple[str, str, str]] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> list[Setting]:
        return sorted({result.setting for result in self.results}, key=Setting.sort_key)

    @property
    def rules(self) -> list[str]:
        """The learning rules, the default one first."""
        return sorted({result.setting.rule for result in self.results}, key=lambda rule: (rule != DEFAULT_SETTING["rule"], rule))

    @property
    def seeds(self) -> list[int]:
        return sorted({result.seed for result in self.results})

    @property
    def environments(self) -> list[str]:
        """The environments in the order of their names, then "overall"."""
        policies = (episodes for result in self.results for episodes in result.policies.values())
        return [*sorted({episode.env for episodes in policies for episode in episodes}), OVERALL]

    @property
    def iterations(self) -> int:
        """The largest M that every setting and seed was run with: the policies after so many iterations are compared."""
        largest: dict[tuple[Setting, int], int] = {}
        for run in self.runs:
            largest[run.setting, run.seed] = max(run.iterations, largest.get((run.setting, run.seed), 0))
        return min(largest.values(), default=min((len(result.curve) - 1 for result in self.results), default=0))

    def setting_label(self, setting: Setting) -> str:
        """The label of a setting, with its seeds if it does not have all seeds of the sweep."""
        return setting.label(self.settings) + self.seeds_suffix(self.results_of(setting))

    def seeds_suffix(self, results: Iterable[SeedResult]) -> str:
        """` (seed 0)`: the seeds of the results; empty if they are all seeds of the sweep."""
        seeds = {result.seed for result in results}
        return "" if seeds == set(self.seeds) else f" ({format_seeds(seeds)})"

    def policy_label(self, setting: Setting) -> str:
        """The label of the policy of a setting that is compared with others."""
        return f"AgentEvol, M = {self.iterations}, {self.setting_label(setting)}"

    def results_of(self, setting: Setting) -> list[SeedResult]:
        """The results of a setting, one for each of its seeds."""
        return [result for result in self.results if result.setting == setting]

    def results_with(self, label: str, rule: str) -> list[SeedResult]:
        """One result for each seed that has the policy `label`, which several settings share.

        BC-Base and BC-Large are shared by the settings of a learning rule, because they are trained with it; a hosted model by all.
        """
        matching = [
            result for result in self.results if label in result.hosted or (label in result.policies and result.setting.rule == rule)
        ]
        return list({result.seed: result for result in reversed(matching)}.values())[::-1]

    def hosted_models(self) -> list[str]:
        """The labels of the hosted models, in the order of their first result."""
        return list(dict.fromkeys(label for result in self.results for label in result.hosted))


def format_seeds(seeds: Iterable[int]) -> str:
    """`seed 0`, `seeds 0, 1`"""
    numbers = sorted(seeds)
    return f"{'seed' if len(numbers) == 1 else 'seeds'} {', '.join(map(str, numbers))}"


def score_of_seeds(results: Iterable[SeedResult], label: str) -> dict[str, Score]:
    """The score of a policy over all seeds, per environment and overall; empty if no result has the policy."""
    seeds = [result.all_policies[label] for result in results if label in result.all_policies]
    return score_over_seeds(seeds) if seeds else {}


def score_after(results: Sequence[SeedResult], iterations: int) -> dict[str, Score]:
    """The score of the policies after so many iterations, over all seeds."""
    return score_over_seeds([result.policies[result.label_after(iterations)] for result in results]) if results else {}


def score_curve(results: Sequence[SeedResult], env: str) -> list[Score | None]:
    """The scores of iterations 0, 1, … in an environment or overall, up to the last iteration that all results have."""
    labels = min((result.curve for result in results), key=len)
    return [score_of_seeds(results, label).get(env) for label in labels]


@dataclass(frozen=True, slots=True)
class SeedsComparison:
    """Two policies compared over the seeds that both have: the test over all of them, and each seed's own McNemar test, by seed."""

    test: ClusteredTest
    by_seed: Mapping[int, PairedTest]


def compare_with_policy(
    results: Sequence[SeedResult], iterations: int, references: Sequence[SeedResult], label: str
) -> dict[str, SeedsComparison]:
    """The policies after so many iterations against the policy `label` of `references`, on the same seeds and instructions.

    By environment; empty if no seed has both.
    """
    others = {reference.seed: reference.all_policies[label] for reference in references if label in reference.all_policies}
    return _compare({result.seed: result.policies[result.label_after(iterations)] for result in results}, others)


def compare_settings(results: Sequence[SeedResult], others: Sequence[SeedResult], iterations: int) -> dict[str, SeedsComparison]:
    """The policies of two settings after so many iterations, by environment, on the seeds that both have."""
    sides = [{result.seed: result.policies[result.label_after(iterations)] for result in side} for side in (results, others)]
    return _compare(*sides)


def _compare(a: Mapping[int, Sequence[Trajectory]], b: Mapping[int, Sequence[Trajectory]]) -> dict[str, SeedsComparison]:
    """`a`, `b`: the episodes of each seed."""
    seeds = [seed for seed in a if seed in b]
    if not seeds:
        return {}
    tests = compare_over_seeds([(a[seed], b[seed]) for seed in seeds])
    own = {seed: mcnemar_per_environment(a[seed], b[seed]) for seed in seeds}
    return {env: SeedsComparison(test, {seed: by_env[env] for seed, by_env in own.items() if env in by_env}) for env, test in tests.items()}


def errors_as_failures(sweep: Sweep) -> Sweep:
    """The sweep as if the episodes that ended in an error had failed with reward 0: an error is then no advantage over a failure."""

    def failed(episodes: Sequence[Trajectory]) -> list[Trajectory]:
        changes: dict[str, Any] = {"status": "finished", "success": False, "reward": 0.0}
        return [replace(episode, **changes) if episode.status == "error" else episode for episode in episodes]

    def of_policies(policies: Mapping[str, Sequence[Trajectory]]) -> dict[str, Sequence[Trajectory]]:
        return {label: failed(episodes) for label, episodes in policies.items()}

    results = [replace(result, policies=of_policies(result.policies), hosted=of_policies(result.hosted)) for result in sweep.results]
    return replace(sweep, results=results, random=failed(sweep.random))


def example_failures(episodes: Iterable[Trajectory]) -> list[Trajectory]:
    """The first failed episodes of each environment; an episode that ended in an error is not a failure."""
    failures: defaultdict[str, list[Trajectory]] = defaultdict(list)
    for episode in episodes:
        if not episode.success and episode.status != "error" and len(failures[episode.env]) < _FAILURES_PER_ENVIRONMENT:
            failures[episode.env].append(episode)
    return [episode for env in sorted(failures) for episode in failures[env]]


def total_and_distinct_seconds(runs: Sequence[SweepRun]) -> tuple[float, float]:
    """(seconds of the steps of all runs, seconds without the repetitions): a step that several runs share was done once."""
    costs = [cost for run in runs for cost in run.costs]
    return sum(cost.seconds for cost in costs), sum({cost.output: cost.seconds for cost in costs}.values())
