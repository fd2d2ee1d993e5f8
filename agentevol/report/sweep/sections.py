"""The parts of a sweep's report, each a title, what it says, tables, pictures and text to unfold.

Invariant: what the grid cannot show (one K, one way of merging) is left out with a sentence that says so; no rate stands without its
interval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.scores import OVERALL, Score, drop_incomplete_overall, score
from agentevol.report.formatting import duration, rate
from agentevol.report.model import BC_BASE, BC_LARGE, RANDOM, iteration_label
from agentevol.report.sweep import comparisons, plots
from agentevol.report.sweep.model import Chain, Sweep, curve, evolved, failures, of_seeds, pooled, shared
from agentevol.report.sweep.section import Section, Table, counted

_LONGEST_EXAMPLE = 6_000


def sections(sweep: Sweep) -> list[Section]:
    return [
        _methods(sweep),
        _curves(sweep),
        comparisons.of_samples(sweep),
        comparisons.of_ablations(sweep),
        comparisons.against_cloning(sweep),
        _costs(sweep),
        _balance(sweep),
        _coverage(sweep),
        _failures(sweep),
        _lineage(sweep),
    ]


def _methods(sweep: Sweep) -> Section:
    rows: dict[str, dict[str, Score]] = {}
    if sweep.random:
        rows[RANDOM] = _by_chance(sweep)
    rows |= _taught(sweep, BC_BASE)
    for setting in sweep.settings:
        rows[sweep.named(setting)] = evolved(sweep.of(setting), sweep.iterations)
    rows |= _taught(sweep, BC_LARGE)
    for label in sweep.hosted():
        rows[label] = pooled(sweep.once_per_seed(label, sweep.rules[0]), label)
    says = (
        f"Success on AgentEval in % with its 95 % Wilson interval, {counted(len(sweep.seeds), 'seed')} together"
        " (the random player once; it has no entry where a world cannot list its actions)."
    )
    table = Table(
        ["policy", *sweep.environments], [[name, *(rate(found.get(env)) for env in sweep.environments)] for name, found in rows.items()]
    )
    reward = Table(
        ["mean reward x 100 [95 % bootstrap]", *sweep.environments],
        [[name, *(rate(found.get(env), "reward") for env in sweep.environments)] for name, found in rows.items()],
    )
    shown = {name: found[OVERALL] for name, found in rows.items() if OVERALL in found and found[OVERALL].n}
    return Section("Methods", says, [table, reward], {"methods": plots.bars(shown, "All environments together")})


def _taught(sweep: Sweep, label: str) -> dict[str, dict[str, Score]]:
    """BC-Base or BC-Large by name; of each rule of learning, where there are several, since cloning learns by it too."""
    having = {rule: sweep.once_per_seed(label, rule) for rule in sweep.rules}
    found = {}
    for rule, chains in having.items():
        if chains:
            name = f"{label}, {rule.replace('_', ' ')}" if len(having) > 1 else label
            found[name + sweep.some_seeds(chains)] = pooled(chains, label)
    return found


def _by_chance(sweep: Sweep) -> dict[str, Score]:
    """The random player's scores; none over all where it could not play in all worlds."""
    return drop_incomplete_overall(_scored(sweep.random), lambda one: one.n, sweep.environments)


def _curves(sweep: Sweep) -> Section:
    found: dict[str, str] = {}
    for env in [OVERALL, *sweep.environments[:-1]]:
        lines = {sweep.told(setting): curve(sweep.of(setting), env) for setting in sweep.settings}
        levels = {BC_LARGE: pooled(sweep.once_per_seed(BC_LARGE, sweep.rules[0]), BC_LARGE).get(env)}
        if sweep.random:
            levels[RANDOM] = _by_chance(sweep).get(env)
        title = "All environments" if env == OVERALL else env
        found[f"curve-{env}"] = plots.curves(lines, levels, title, small=env != OVERALL)
    longest = max((chain.curve for chain in sweep.chains), key=len)
    rows = [[sweep.told(setting), *(_point(sweep.of(setting), label) for label in longest)] for setting in sweep.settings]
    header = ["setting", BC_BASE, *(iteration_label(number) for number in range(1, len(longest)))]
    says = (
        "Success over the iterations; a run of M iterations contains the shorter ones. A line ends where not all of its seeds go on;"
        " what the others have is in the table, and every interval."
    )
    return Section("The curve over M", says, [Table(header, rows)], found)


def _costs(sweep: Sweep) -> Section:
    rows = []
    for cell in sweep.cells:
        episodes = sum(cost.episodes for cost in cell.costs)
        played, learnt = (sum(getattr(cost, name) for cost in cell.costs) for name in ("tokens", "trained_tokens"))
        figures = [f"{episodes:,}", f"{played:,}", f"{learnt:,}", duration(sum(cost.seconds for cost in cell.costs))]
        rows.append([f"M{cell.iterations} {cell.setting.told(sweep.settings)} seed {cell.seed}", *figures, cell.folder])
    whole, distinct = shared(sweep.cells)
    says = (
        f"What each run would cost by itself. Together {duration(whole)}; what they have in common was computed once, so"
        f" {duration(distinct)} were spent ({100 * distinct / whole:.0f} %)."
        if whole
        else ""
    )
    return Section("Cost of each run", says, [Table(["run", "episodes", "tokens played", "tokens learnt", "time", "folder"], rows)])


def _balance(sweep: Sweep) -> Section:
    longest = max(sweep.cells, key=lambda cell: (cell.iterations, -cell.seed), default=None)
    if longest is None or not longest.costs:
        return Section("Exploring and learning", "No costs were recorded.")
    seconds: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for cost in longest.costs:
        seconds[cost.label][cost.what] = seconds[cost.label].get(cost.what, 0.0) + cost.seconds
    total = {what: sum(parts.get(what, 0.0) for parts in seconds.values()) for what in ("explore", "learn", "evaluate")}
    whole = sum(total.values()) or 1.0
    says = ", ".join(f"{what} {100 * part / whole:.0f} %" for what, part in total.items())
    named = f"M{longest.iterations} {longest.setting.told(sweep.settings)}, seed {longest.seed}"
    return Section("Exploring and learning", f"{named}: {says} of the time.", pictures={"balance": plots.balance(seconds, named)})


def _coverage(sweep: Sweep) -> Section:
    from envs.registry import environment_class

    if not sweep.explored:
        return Section("Coverage by difficulty", "What was explored is not known.")
    totals: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for env, difficulty, item_id in sweep.explored:
        totals[env, difficulty].add(item_id)
    setting = sweep.settings[0]
    chains = sweep.of(setting)
    kept = {label: [chain.kept.get(label, frozenset()) for chain in chains] for label in chains[0].curve[1:]}
    first, last = iteration_label(1), chains[0].after(sweep.iterations)
    played: defaultdict[tuple[str, str], list[Trajectory]] = defaultdict(list)
    before: defaultdict[tuple[str, str], list[Trajectory]] = defaultdict(list)
    for chain in chains:
        for into, label in ((before, BC_BASE), (played, chain.after(sweep.iterations))):
            for episode in chain.policies[label]:
                into[episode.env, environment_class(episode.env).instruction(episode.item_id).difficulty].append(episode)
    rows = []
    for env, difficulty in sorted({*totals, *played}):
        ids = totals.get((env, difficulty), set())
        cells = [_share([len(ids & found) for found in kept.get(label, [])], len(ids)) for label in dict.fromkeys((first, last))]
        scores = [rate(_scored(found[env, difficulty])[OVERALL]) if found[env, difficulty] else "-" for found in (before, played)]
        rows.append([env, difficulty, str(len(ids)), *cells, *scores])
    header = ["environment", "difficulty", "explored", *(f"solved in {label.lower()}" for label in dict.fromkeys((first, last)))]
    says = (
        f"{sweep.named(setting)}: the share of the explored instructions of which exploring kept a success (mean of the seeds),"
        " and success on AgentEval before and after."
    )
    return Section("Coverage by difficulty", says, [Table([*header, f"AgentEval, {BC_BASE}", f"AgentEval, {last.lower()}"], rows)])


def _failures(sweep: Sweep) -> Section:
    chain = sweep.of(sweep.settings[0])[0]
    unfold = [
        (f"{one.item_id} ({one.task_type}): {one.rounds} rounds, reward {one.reward:g}, {one.status}", _read(one))
        for one in failures(chain.policies[chain.final])
    ]
    which = f"{chain.setting.told(sweep.settings)}, {chain.final.lower()}, seed {chain.seed}"
    says = f"Episodes of {which} that failed, the first of each environment."
    return Section("Where the policy fails", says, unfold=unfold)


def _lineage(sweep: Sweep) -> Section:
    rows = [[str(name), str(value)] for name, value in sweep.meta.items()]
    models = []
    for chain in sweep.chains:
        for label, parts in chain.lineage.items():
            entry = [f"{chain.setting.told(sweep.settings)} seed {chain.seed}", label]
            models.append([*entry, *(str(parts.get(what, {}).get("sha256", ""))[:12] for what in ("model", "learnt from", "explored"))])
    tables = [Table(["what", "value"], rows), Table(["run", "policy", "model", "learnt from", "explored"], models)]
    return Section("Lineage", "SHA-256 of the content, the first twelve digits; each run's run.json has them whole.", tables)


def _point(chains: Sequence[Chain], label: str) -> str:
    having = [chain for chain in chains if label in chain.policies]
    some = f" ({of_seeds(chain.seed for chain in having)})" if having and len(having) < len(chains) else ""
    return rate(pooled(having, label).get(OVERALL)) + some


def _scored(episodes: Sequence[Trajectory]) -> dict[str, Score]:
    return score(episodes)


def _share(counts: Sequence[int], whole: int) -> str:
    return f"{100 * sum(counts) / len(counts) / whole:.0f} %" if counts and whole else "-"


def _read(episode: Trajectory) -> str:
    text = "\n\n".join(f"{'POLICY' if message.role == 'assistant' else 'WORLD'}: {message.content}" for message in episode.messages)
    return text if len(text) <= _LONGEST_EXAMPLE else f"{text[:_LONGEST_EXAMPLE]}\n(cut)"
