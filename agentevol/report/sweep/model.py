"""What a report of a sweep is made from: chains of policies, and figures pooled over their seeds.

Invariant: a chain of M iterations contains the shorter ones, so of each (setting, seed) the longest is read; a policy is pooled over seeds
by its episodes, a pair of policies within each seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.paired_tests import PairedTest, mcnemar_from_counts, paired
from agentevol.evaluation.scores import OVERALL, Score, score
from agentevol.report.model import BC_LARGE

USUAL = {"merge": "initial", "start_from": "base", "rule": "reward_weighted"}
_WORDS = {"merge": "merge", "start_from": "from", "rule": "rule"}
_EXAMPLES = 2  # failures to be read, per environment


@dataclass(frozen=True, slots=True)
class Setting:
    """What tells two chains of one seed apart. `samples`: K as it is written."""

    samples: str
    merge: str
    start_from: str
    rule: str

    def place(self) -> tuple[Any, ...]:
        """Where it stands in a report: by K, the usual ones first."""
        rest = {name: getattr(self, name) for name in USUAL}
        return [int(number) for number in self.samples.split("+")], *((own != USUAL[name], own) for name, own in rest.items())

    def told(self, among: Iterable[Setting]) -> str:
        """`K = 3, merge cumulative`: K, and what is not the usual where the settings of the sweep differ in it."""
        others = list(among)
        parts = [f"K = {self.samples}"]
        for name, words in _WORDS.items():
            own = getattr(self, name)
            if own != USUAL[name] and any(getattr(other, name) != own for other in others):
                parts.append(f"{words} {own.replace('_', ' ')}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Cost:
    """A step of a run: what it made (`made`, by path: the same path is the same work) and what that cost."""

    label: str
    what: str
    made: str
    seconds: float
    episodes: int
    tokens: int
    trained_tokens: int


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of the sweep. `folder`: its report's."""

    setting: Setting
    iterations: int
    seed: int
    folder: str
    costs: Sequence[Cost] = ()


@dataclass(frozen=True, slots=True)
class Chain:
    """The longest run of a setting and seed.

    `policies`: episodes on AgentEval by label, in the order BC-Base, Iteration 1, …, BC-Large; `hosted`: those of hosted models, by name;
    `kept`: by label, the instructions of which the exploring of that iteration kept a success; `lineage`: by label, what its run's
    `run.json` says.
    """

    setting: Setting
    seed: int
    policies: Mapping[str, Sequence[Trajectory]]
    kept: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)
    hosted: Mapping[str, Sequence[Trajectory]] = field(default_factory=dict)

    @property
    def everything(self) -> Mapping[str, Sequence[Trajectory]]:
        return {**self.policies, **self.hosted}

    @property
    def curve(self) -> list[str]:
        """The labels along M; the first is BC-Base."""
        return [label for label in self.policies if label != BC_LARGE]

    @property
    def final(self) -> str:
        return self.curve[-1]

    def after(self, iterations: int) -> str:
        """The label of the policy after so many iterations; of a chain that patience ended earlier, its last one."""
        return self.curve[min(iterations, len(self.curve) - 1)]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Everything that the report is made from. `explored`: the instructions that are explored, as (env, difficulty, item_id).

    `parameters`: what all runs have in common, by dotted keys (params.comparable_parameters).
    """

    chains: Sequence[Chain]
    cells: Sequence[Cell]
    random: Sequence[Trajectory] = ()
    explored: Sequence[tuple[str, str, str]] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> list[Setting]:
        """By K, as numbers, and then the usual ones first."""
        return sorted({chain.setting for chain in self.chains}, key=Setting.place)

    @property
    def rules(self) -> list[str]:
        """The rules of learning, the usual one first."""
        return sorted({chain.setting.rule for chain in self.chains}, key=lambda rule: (rule != USUAL["rule"], rule))

    @property
    def seeds(self) -> list[int]:
        return sorted({chain.seed for chain in self.chains})

    @property
    def environments(self) -> list[str]:
        """By name, then "overall"."""
        return [*sorted({episode.env for chain in self.chains for episodes in chain.policies.values() for episode in episodes}), OVERALL]

    @property
    def iterations(self) -> int:
        """The M that all chains were asked for: the policies that are set against each other are those after so many iterations."""
        asked: dict[tuple[Setting, int], int] = {}
        for cell in self.cells:
            asked[cell.setting, cell.seed] = max(cell.iterations, asked.get((cell.setting, cell.seed), 0))
        return min(asked.values(), default=min((len(chain.curve) - 1 for chain in self.chains), default=0))

    def told(self, setting: Setting) -> str:
        """The setting, and its seeds where it does not have all of the sweep's."""
        return setting.told(self.settings) + self.some_seeds(self.of(setting))

    def some_seeds(self, chains: Iterable[Chain]) -> str:
        """` (seed 0)`: the seeds of the chains, where they are not all of the sweep's."""
        own = {chain.seed for chain in chains}
        return "" if own == set(self.seeds) else f" ({of_seeds(own)})"

    def named(self, setting: Setting) -> str:
        """The policy of a setting that is set against others."""
        return f"AgentEvol, M = {self.iterations}, {self.told(setting)}"

    def of(self, setting: Setting) -> list[Chain]:
        return [chain for chain in self.chains if chain.setting == setting]

    def once_per_seed(self, label: str, rule: str) -> list[Chain]:
        """A chain of each seed that has what its settings share: BC-Base and BC-Large all those of a rule (cloning learns by it as well), a
        hosted model all."""
        having = [chain for chain in self.chains if label in chain.hosted or (label in chain.policies and chain.setting.rule == rule)]
        return list({chain.seed: chain for chain in reversed(having)}.values())[::-1]

    def hosted(self) -> list[str]:
        """The hosted models, in the order met."""
        return list(dict.fromkeys(label for chain in self.chains for label in chain.hosted))


def of_seeds(seeds: Iterable[int]) -> str:
    """`seed 0, 1`."""
    return f"seed {', '.join(map(str, sorted(seeds)))}"


def pooled(chains: Iterable[Chain], label: str) -> dict[str, Score]:
    """The score of a policy over its seeds, per environment and overall; empty where no chain has it."""
    episodes = [episode for chain in chains for episode in chain.everything.get(label, ())]
    return score(episodes) if episodes else {}


def evolved(chains: Sequence[Chain], iterations: int) -> dict[str, Score]:
    """The score of the policies after so many iterations, over their seeds."""
    episodes = [episode for chain in chains for episode in chain.policies[chain.after(iterations)]]
    return score(episodes) if episodes else {}


def curve(chains: Sequence[Chain], env: str) -> list[Score | None]:
    """The scores along M in an environment or overall, as far as all of the chains go."""
    labels = min((chain.curve for chain in chains), key=len)
    return [pooled(chains, label).get(env) for label in labels]


def compared(chains: Sequence[Chain], iterations: int, seeds: Sequence[Chain], other: str) -> dict[str, PairedTest]:
    """The policies after so many iterations against one that all settings of their rule share, by environment: pairs of one instruction
    and seed, counted together. `seeds`: a chain of each seed, where the other policy is found."""
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    of_seed = {chain.seed: chain.everything[other] for chain in seeds if other in chain.everything}
    for chain in chains:
        if chain.seed in of_seed:
            _count(counts, paired(chain.policies[chain.after(iterations)], of_seed[chain.seed]))
    return {env: mcnemar_from_counts(*found) for env, found in counts.items()}


def between(chains: Sequence[Chain], others: Sequence[Chain], iterations: int) -> dict[str, PairedTest]:
    """The policies of two settings after so many iterations against each other, by environment."""
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    of_seed = {chain.seed: chain for chain in others}
    for chain in chains:
        if chain.seed in of_seed:
            other = of_seed[chain.seed]
            _count(counts, paired(chain.policies[chain.after(iterations)], other.policies[other.after(iterations)]))
    return {env: mcnemar_from_counts(*found) for env, found in counts.items()}


def failures(episodes: Iterable[Trajectory]) -> list[Trajectory]:
    """The first that failed of each environment, to be read; what a fault ended is no failure."""
    found: defaultdict[str, list[Trajectory]] = defaultdict(list)
    for episode in episodes:
        if not episode.success and episode.status != "error" and len(found[episode.env]) < _EXAMPLES:
            found[episode.env].append(episode)
    return [episode for env in sorted(found) for episode in found[env]]


def _count(counts: Mapping[str, list[int]], results: Mapping[str, PairedTest]) -> None:
    for env, result in results.items():
        for index, name in enumerate(("n", "only_a", "only_b")):
            counts[env][index] += getattr(result, name)


def shared(cells: Sequence[Cell]) -> tuple[float, float]:
    """(seconds of all cells' steps, seconds of the distinct ones): what is in several cells was computed once."""
    everything = [cost for cell in cells for cost in cell.costs]
    return sum(cost.seconds for cost in everything), sum({cost.made: cost.seconds for cost in everything}.values())
