"""The parts of a sweep's report that set policies against each other: K, merging, starting points, rules, and the tests against cloning.

Invariant: only policies of the same seed and instruction make a pair, and both have had as many iterations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from agentevol.evaluation.paired_tests import PairedTest, holm
from agentevol.evaluation.scores import OVERALL
from agentevol.report.formatting import rate
from agentevol.report.model import BC_BASE, BC_LARGE
from agentevol.report.sweep import plots
from agentevol.report.sweep.model import USUAL, Setting, Sweep, between, compared, curve, evolved, of_seeds
from agentevol.report.sweep.section import PAIRED, Section, Table, counted, p_value, paired_cells


def of_samples(sweep: Sweep) -> Section:
    """Every K against the smallest, everything else alike."""
    groups = _alike(sweep, tuple(USUAL))
    rows = [
        _row(sweep, f"{setting.told(sweep.settings)} against {first.told(sweep.settings)}", setting, first)
        for first, *others in groups
        for setting in others
    ]
    return _section("The K comparison", "samples", sweep, groups, rows, "The grid has one K.")


def of_ablations(sweep: Sweep) -> Section:
    """Each other way of merging, starting point and rule against the usual one, everything else alike."""
    compared_ones, rows = [], []
    for name in USUAL:
        groups = _alike(sweep, tuple(other for other in ("samples", *USUAL) if other != name))
        compared_ones += groups
        for usual, *others in groups:  # or what stands in for it
            for setting in others:
                what = f"{name.replace('_', ' ')}: {getattr(setting, name)} against {getattr(usual, name)} (K = {setting.samples})"
                rows.append(_row(sweep, what, setting, usual))
    none = "The grid has one way of merging, one starting point and one rule of learning."
    return _section("Merging, starting point and rule", "ablations", sweep, compared_ones, rows, none)


def against_cloning(sweep: Sweep) -> Section:
    """AgentEvol in every setting against BC-Base and BC-Large of the same seed and rule, and against the hosted models."""
    found: list[tuple[str, PairedTest]] = []
    for setting in sweep.settings:
        for other in (BC_BASE, BC_LARGE, *sweep.hosted()):
            results = compared(sweep.of(setting), sweep.iterations, sweep.once_per_seed(other, setting.rule), other)
            found += [(f"{sweep.named(setting)} against {other}: {env}", results[env]) for env in sweep.environments if env in results]
    adjusted = holm([result.p_value for _, result in found])
    rows = [[what, *paired_cells(result), p_value(value)] for (what, result), value in zip(found, adjusted, strict=True)]
    says = (
        "Exact McNemar tests on the same instructions, pairs of all seeds counted together; Holm's correction is over all of this"
        " table. Seeds share their instructions, so a p-value over several seeds is somewhat too small."
    )
    return Section("Paired tests", says, [Table(["comparison", *PAIRED, "p (Holm)"], rows)])


def _row(sweep: Sweep, what: str, setting: Setting, other: Setting) -> list[str]:
    """Of the seeds that both have."""
    return [what, *paired_cells(between(sweep.of(setting), sweep.of(other), sweep.iterations).get(OVERALL))]


def _alike(sweep: Sweep, names: Sequence[str]) -> list[list[Setting]]:
    """The settings that agree in `names`, where there are several that do."""
    by_rest: defaultdict[tuple[str, ...], list[Setting]] = defaultdict(list)
    for setting in sweep.settings:
        by_rest[tuple(getattr(setting, name) for name in names)].append(setting)
    return [settings for settings in by_rest.values() if len(settings) > 1]


def _section(title: str, name: str, sweep: Sweep, groups: list[list[Setting]], rows: list[list[str]], none: str) -> Section:
    if not rows:
        return Section(title, none)
    says = f"The policies after {counted(sweep.iterations, 'iteration')}, paired by seed and instruction."
    tables = [Table(["pair", *PAIRED], rows)]
    settings = sorted({setting for group in groups for setting in group}, key=Setting.place)
    common = set.intersection(*({chain.seed for chain in sweep.of(setting)} for setting in settings))
    if not common:
        return Section(title, f"{says} No seed has all of these settings.", tables)
    chains = {setting.told(settings): [chain for chain in sweep.of(setting) if chain.seed in common] for setting in settings}
    which = of_seeds(common)
    rates = {told: evolved(own, sweep.iterations) for told, own in chains.items()}
    cells = [[told, *(rate(found.get(env)) for env in sweep.environments)] for told, found in rates.items()]
    tables.append(Table([f"success, {which}", *sweep.environments], cells))
    picture = plots.curves({told: curve(own, OVERALL) for told, own in chains.items()}, {}, f"All environments, {which}")
    return Section(title, f"{says} The rates and the picture are of what all of them have, {which}.", tables, {f"curve-{name}": picture})
