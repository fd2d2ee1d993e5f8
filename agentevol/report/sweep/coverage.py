"""The section of a sweep's report on exploration: which instructions got a success, by difficulty and by setting.

Invariant: the explored instructions are the denominator, whether an episode was spent on them or not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from agentevol.data.exploration import ExplorationGroup
from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.clusters import score_over_seeds
from agentevol.evaluation.scores import OVERALL
from agentevol.report.formatting import MISSING, format_rate
from agentevol.report.model import BC_BASE, iteration_label
from agentevol.report.sweep.model import SeedResult, Sweep
from agentevol.report.sweep.section import Section, Table


def coverage_section(sweep: Sweep) -> Section:
    from envs.registry import environment_class

    title = "Coverage by difficulty"
    if not sweep.explored:
        return Section(title, "The explored instructions were not recorded.")
    explored: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for env, difficulty, item_id in sweep.explored:
        explored[env, difficulty].add(item_id)
    setting = sweep.settings[0]
    results = sweep.results_of(setting)
    first, lasts = iteration_label(1), [result.label_after(sweep.iterations) for result in results]
    last = lasts[0] if len(set(lasts)) == 1 else "the last iteration"  # early stopping: each seed has its own
    kept = {first: [result.kept.get(first, frozenset()) for result in results], last: _solved_at_the_end(sweep, results)}
    before: defaultdict[tuple[str, str], list[list[Trajectory]]] = defaultdict(lambda: [[] for _ in results])
    after: defaultdict[tuple[str, str], list[list[Trajectory]]] = defaultdict(lambda: [[] for _ in results])
    for seed, result in enumerate(results):
        for group, label in ((before, BC_BASE), (after, result.label_after(sweep.iterations))):
            for episode in result.policies[label]:
                group[episode.env, environment_class(episode.env).instruction(episode.item_id).difficulty][seed].append(episode)
    rows = []
    for env, difficulty in sorted({*explored, *after}):
        ids = explored.get((env, difficulty), set())
        cells = [_share([len(ids & solved) for solved in of_seeds], len(ids)) for of_seeds in kept.values()]
        scores = [score_over_seeds(group[env, difficulty])[OVERALL] for group in (before, after)]
        rows.append([env, difficulty, str(len(ids)), *cells, *map(format_rate, scores)])
    header = ["environment", "difficulty", "explored", *(f"solved in {label.lower()}" for label in kept)]
    text = (
        f"{sweep.policy_label(setting)}: the share of the explored instructions for which a successful trajectory was kept (mean of the"
        " seeds), and success on AgentEval before and after."
    )
    tables = [Table([*header, f"AgentEval, {BC_BASE}", f"AgentEval, {last.lower()}"], rows)]
    if len(sweep.settings) > 1:
        tables.append(_coverage_of_settings(sweep, explored))
        text += f" Below, the share in {last.lower()} in every setting."
    if any(result.exploration for result in sweep.results):
        tables.append(_exploration(sweep))
        text += (
            " The last table counts episodes and instructions (mean of the seeds), in its last column those without a trajectory in"
            " AgentTraj."
        )
    return Section(title, text, tables)


def _solved_at_the_end(sweep: Sweep, results: Sequence[SeedResult]) -> list[frozenset[str]]:
    """For each seed, the instructions that were solved in the last common iteration, or in its own last one if it ended before."""
    return [result.kept.get(result.label_after(sweep.iterations), frozenset()) for result in results]


def _coverage_of_settings(sweep: Sweep, explored: Mapping[tuple[str, str], set[str]]) -> Table:
    """The share of the explored instructions with a successful trajectory in the last common iteration, for each setting."""
    solved = {setting.label(sweep.settings): _solved_at_the_end(sweep, sweep.results_of(setting)) for setting in sweep.settings}
    rows = [
        [env, difficulty, str(len(ids)), *(_share([len(ids & kept) for kept in seeds], len(ids)) for seeds in solved.values())]
        for (env, difficulty), ids in sorted(explored.items())
    ]
    return Table(["environment", "difficulty", "explored", *solved], rows)


def _exploration(sweep: Sweep) -> Table:
    """Every iteration of every setting: its episodes, and the instructions with an episode and with a success."""
    rows = []
    for setting in sweep.settings:
        results = [result for result in sweep.results_of(setting) if result.exploration]
        for label in results[0].exploration if results else ():
            of_seeds = [result.exploration[label] for result in results if label in result.exploration]
            cells = [_mean(of_seeds, "episodes"), *(_mean_share(of_seeds, *parts) for parts in _SHARES)]
            rows.append([f"{setting.label(sweep.settings)}, {label.lower()}{sweep.seeds_suffix(results)}", *cells])
    return Table(["explored", "episodes", "with an episode", "with a success", "with a success, not in AgentTraj"], rows)


_SHARES = (("sampled", "instructions"), ("covered", "instructions"), ("covered_without_expert", "without_expert"))
_Exploration = Sequence[Sequence[ExplorationGroup]]
"""The groups of an iteration, seed by seed."""


def _mean(of_seeds: _Exploration, name: str) -> str:
    return f"{sum(getattr(group, name) for groups in of_seeds for group in groups) / len(of_seeds):.4g}"


def _mean_share(of_seeds: _Exploration, part: str, whole: str) -> str:
    of = _mean(of_seeds, whole)
    return f"{_mean(of_seeds, part)} of {of}" + (f" ({100 * float(_mean(of_seeds, part)) / float(of):.0f} %)" if float(of) else "")


def _share(counts: Sequence[int], total: int) -> str:
    return f"{100 * sum(counts) / len(counts) / total:.0f} %" if counts and total else MISSING
