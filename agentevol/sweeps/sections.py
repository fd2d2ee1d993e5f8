"""The parts of a sweep's report, each a title, what it says, tables, pictures and text to unfold.

Invariant: what the grid cannot show (one K, one way of merging) is left out with a sentence that says so; no rate stands without its
interval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan

from agentevol.report import BC_BASE, BC_LARGE, RANDOM, iteration_label
from agentevol.scoring import OVERALL, Paired, Score, holm, score
from agentevol.sweeps import pictures
from agentevol.sweeps.chains import Chain, Setting, Sweep, between, compared, evolved, failures, pooled, shared
from agentevol.trajectory import Trajectory

_LONGEST_EXAMPLE = 6_000


@dataclass(frozen=True, slots=True)
class Table:
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Section:
    """`pictures`: SVG, with the name of the file that it also is; `unfold`: (summary, text) to be read on demand."""

    title: str
    says: str = ""
    tables: Sequence[Table] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    unfold: Sequence[tuple[str, str]] = ()


def sections(sweep: Sweep) -> list[Section]:
    return [
        _methods(sweep),
        _curves(sweep),
        _samples(sweep),
        _ablations(sweep),
        _tests(sweep),
        _costs(sweep),
        _balance(sweep),
        _coverage(sweep),
        _failures(sweep),
        _lineage(sweep),
    ]


def _methods(sweep: Sweep) -> Section:
    seeds = sweep.once_per_seed()
    rows: dict[str, dict[str, Score]] = {}
    if sweep.random:
        rows[RANDOM] = _scored(sweep.random)
    rows[BC_BASE] = pooled(seeds, BC_BASE)
    for setting in sweep.settings:
        rows[_name(sweep, setting)] = evolved(sweep.of(setting), sweep.iterations)
    if any(BC_LARGE in chain.policies for chain in seeds):
        rows[BC_LARGE] = pooled(seeds, BC_LARGE)
    says = (
        f"Success on AgentEval in % with its 95 % Wilson interval, {_count(len(sweep.seeds), 'seed')} together"
        " (the random player once; it has no entry where a world cannot list its actions)."
    )
    table = Table(
        ["policy", *sweep.environments], [[name, *(_rate(found.get(env)) for env in sweep.environments)] for name, found in rows.items()]
    )
    reward = Table(
        ["mean reward x 100 [95 % bootstrap]", *sweep.environments],
        [[name, *(_reward(found.get(env)) for env in sweep.environments)] for name, found in rows.items()],
    )
    shown = {name: found[OVERALL] for name, found in rows.items() if OVERALL in found and found[OVERALL].n}
    return Section("Methods", says, [table, reward], {"methods": pictures.bars(shown, "All environments together")})


def _curves(sweep: Sweep) -> Section:
    found: dict[str, str] = {}
    for env in [OVERALL, *sweep.environments[:-1]]:
        lines = {setting.told(sweep.settings): _line(sweep.of(setting), env) for setting in sweep.settings}
        levels = {BC_LARGE: pooled(sweep.once_per_seed(), BC_LARGE).get(env)}
        if sweep.random:
            levels[RANDOM] = _scored(sweep.random).get(env)
        title = "All environments" if env == OVERALL else env
        found[f"curve-{env}"] = pictures.curves(lines, levels, title, small=env != OVERALL)
    longest = max(len(chain.curve) for chain in sweep.chains)
    rows = [
        [setting.told(sweep.settings), *(_rate(one) for one in _padded(_line(sweep.of(setting), OVERALL), longest))]
        for setting in sweep.settings
    ]
    header = ["setting", BC_BASE, *(iteration_label(number) for number in range(1, longest))]
    return Section(
        "The curve over M", "Success over the iterations; a run of M iterations contains the shorter ones.", [Table(header, rows)], found
    )


def _samples(sweep: Sweep) -> Section:
    by_rest: defaultdict[tuple[str, ...], list[Setting]] = defaultdict(list)
    for setting in sweep.settings:
        by_rest[setting.merge, setting.start_from, setting.rule].append(setting)
    rows = []
    for settings in by_rest.values():
        first = sweep.of(settings[0])
        for setting in settings[1:]:
            rows.append(
                [
                    f"{setting.told(sweep.settings)} against {settings[0].told(sweep.settings)}",
                    *_test(between(sweep.of(setting), first, sweep.iterations)),
                ]
            )
    if not rows:
        return Section("The K comparison", "The grid has one K.")
    return Section(
        "The K comparison",
        _paired_after(sweep),
        [Table(["pair", *_TEST], rows)],
    )


def _ablations(sweep: Sweep) -> Section:
    rows = []
    for name in ("merge", "start_from", "rule"):
        by_rest: defaultdict[tuple[str, ...], list[Setting]] = defaultdict(list)
        for setting in sweep.settings:
            by_rest[tuple(getattr(setting, other) for other in ("samples", "merge", "start_from", "rule") if other != name)].append(setting)
        for settings in by_rest.values():
            usual = min(settings, key=lambda one: getattr(one, name) not in ("initial", "base", "reward_weighted"))
            for setting in settings:
                if setting != usual:
                    what = f"{name.replace('_', ' ')}: {getattr(setting, name)} against {getattr(usual, name)} (K = {setting.samples})"
                    rows.append([what, *_test(between(sweep.of(setting), sweep.of(usual), sweep.iterations))])
    if not rows:
        return Section("Merging, starting point and rule", "The grid has one way of merging, one starting point and one rule of learning.")
    return Section(
        "Merging, starting point and rule",
        _paired_after(sweep),
        [Table(["pair", *_TEST], rows)],
    )


def _tests(sweep: Sweep) -> Section:
    found: list[tuple[str, Paired]] = []
    for setting in sweep.settings:
        for other in (BC_BASE, BC_LARGE):
            results = compared(sweep.of(setting), sweep.iterations, other)
            found += [(f"{_name(sweep, setting)} against {other}: {env}", results[env]) for env in sweep.environments if env in results]
    adjusted = holm([result.p_value for _, result in found])
    rows = [[what, *_cells(result), _p(value)] for (what, result), value in zip(found, adjusted, strict=True)]
    says = (
        "Exact McNemar tests on the same instructions, pairs of all seeds counted together; Holm's correction is over all of this"
        " table. Seeds share their instructions, so a p-value over several seeds is somewhat too small."
    )
    return Section("Paired tests", says, [Table(["comparison", *_TEST, "p (Holm)"], rows)])


def _costs(sweep: Sweep) -> Section:
    rows = []
    for cell in sweep.cells:
        episodes = sum(cost.episodes for cost in cell.costs)
        played, learnt = (sum(getattr(cost, name) for cost in cell.costs) for name in ("tokens", "trained_tokens"))
        figures = [f"{episodes:,}", f"{played:,}", f"{learnt:,}", _duration(sum(cost.seconds for cost in cell.costs))]
        rows.append([f"M{cell.iterations} {cell.setting.told(sweep.settings)} seed {cell.seed}", *figures, cell.folder])
    whole, distinct = shared(sweep.cells)
    says = (
        f"What each run would cost by itself. Together {_duration(whole)}; what they have in common was computed once, so"
        f" {_duration(distinct)} were spent ({100 * distinct / whole:.0f} %)."
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
        seconds[cost.label][cost.what] = cost.seconds
    total = {what: sum(parts.get(what, 0.0) for parts in seconds.values()) for what in ("explore", "learn", "evaluate")}
    whole = sum(total.values()) or 1.0
    says = ", ".join(f"{what} {100 * part / whole:.0f} %" for what, part in total.items())
    named = f"M{longest.iterations} {longest.setting.told(sweep.settings)}, seed {longest.seed}"
    return Section("Exploring and learning", f"{named}: {says} of the time.", pictures={"balance": pictures.balance(seconds, named)})


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
        scores = [_rate(_scored(found[env, difficulty])[OVERALL]) if found[env, difficulty] else "-" for found in (before, played)]
        rows.append([env, difficulty, str(len(ids)), *cells, *scores])
    header = ["environment", "difficulty", "explored", *(f"solved in {label.lower()}" for label in dict.fromkeys((first, last)))]
    says = (
        f"{_name(sweep, setting)}: the share of the explored instructions of which exploring kept a success (mean of the seeds),"
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


def _line(chains: Sequence[Chain], env: str) -> list[Score | None]:
    labels = max((chain.curve for chain in chains), key=len)
    return [pooled(chains, label).get(env) for label in labels]


def _padded(line: Sequence[Score | None], length: int) -> list[Score | None]:
    return [*line, *[None] * (length - len(line))]


def _name(sweep: Sweep, setting: Setting) -> str:
    return f"AgentEvol, M = {sweep.iterations}, {setting.told(sweep.settings)}"


def _scored(episodes: Sequence[Trajectory]) -> dict[str, Score]:
    return score(episodes)


def _paired_after(sweep: Sweep) -> str:
    return f"The policies after {_count(sweep.iterations, 'iteration')}, paired by seed and instruction."


_TEST = ("n", "points", "gained", "lost", "p")


def _test(results: Mapping[str, Paired]) -> list[str]:
    return _cells(results[OVERALL]) if OVERALL in results else ["-"] * len(_TEST)


def _cells(result: Paired) -> list[str]:
    points = "-" if isnan(result.difference) else f"{100 * result.difference:+.1f}"
    return [str(result.n), points, str(result.only_a), str(result.only_b), _p(result.p_value)]


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 0.0001 else "< 0.0001"


def _rate(found: Score | None) -> str:
    if found is None or not found.n:
        return "-"
    return f"{100 * found.success:.1f} [{100 * found.success_low:.0f}, {100 * found.success_high:.0f}]"


def _reward(found: Score | None) -> str:
    if found is None or not found.n:
        return "-"
    return f"{100 * found.reward:.1f} [{100 * found.reward_low:.0f}, {100 * found.reward_high:.0f}]"


def _share(counts: Sequence[int], whole: int) -> str:
    return f"{100 * sum(counts) / len(counts) / whole:.0f} %" if counts and whole else "-"


def _read(episode: Trajectory) -> str:
    text = "\n\n".join(f"{'POLICY' if message.role == 'assistant' else 'WORLD'}: {message.content}" for message in episode.messages)
    return text if len(text) <= _LONGEST_EXAMPLE else f"{text[:_LONGEST_EXAMPLE]}\n(cut)"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
