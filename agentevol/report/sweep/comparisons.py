"""The sections of a sweep's report that compare policies: K, merging, starting points, rules, and tests against behavioural cloning.

Invariant: a pair is two episodes of the same seed and instruction, of policies after the same number of iterations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from agentevol.evaluation.paired_tests import holm
from agentevol.evaluation.scores import OVERALL
from agentevol.report.formatting import format_count, format_p_value, format_rate
from agentevol.report.model import BC_BASE, BC_LARGE, ZERO_SHOT
from agentevol.report.sweep import plots
from agentevol.report.sweep.model import (
    DEFAULT_SETTING,
    SeedsComparison,
    Setting,
    Sweep,
    compare_settings,
    compare_with_policy,
    format_seeds,
    score_after,
    score_curve,
)
from agentevol.report.sweep.section import PAIRED_COLUMNS, Section, Table, paired_cells


def samples_section(sweep: Sweep) -> Section:
    """Every K against the smallest, all other parameters equal."""
    groups = _groups_with_equal(sweep, tuple(DEFAULT_SETTING))
    rows = [
        _paired_row(sweep, f"{setting.label(sweep.settings)} against {smallest.label(sweep.settings)}", setting, smallest)
        for smallest, *others in groups
        for setting in others
    ]
    is_same = len({setting.samples for setting in sweep.settings}) == 1
    none = "All runs have the same K." if is_same else "No two settings differ in K alone."
    return _section("The K comparison", "samples", sweep, groups, rows, none)


def ablations_section(sweep: Sweep) -> Section:
    """Every other merging, starting point and rule against the default one, all other parameters equal."""
    groups, rows = [], []
    for name in DEFAULT_SETTING:
        groups_of_name = _groups_with_equal(sweep, tuple(other for other in ("samples", *DEFAULT_SETTING) if other != name))
        groups += groups_of_name
        for default, *others in groups_of_name:  # the first in order, if the sweep does not have the default
            for setting in others:
                values = f"{getattr(setting, name)} against {getattr(default, name)}"
                rows.append(_paired_row(sweep, f"{name.replace('_', ' ')}: {values} (K = {setting.samples})", setting, default))
    is_same = len({replace(setting, samples="") for setting in sweep.settings}) == 1
    none = "All runs have the same merging, starting point and learning rule."
    if not is_same:
        none = (
            "No two settings differ in only one of merging, starting point and learning rule. (dpo and grpo always start from the previous"
            " policy: compare other rules with them with sweep.start_from=[previous].)"
        )
    return _section("Merging, starting point and rule", "ablations", sweep, groups, rows, none)


def paired_tests_section(sweep: Sweep) -> Section:
    """AgentEvol in every setting against BC-Base and BC-Large of the same seed and rule, and against the hosted models."""
    tests: list[tuple[str, SeedsComparison]] = []
    for setting in sweep.settings:
        for reference in (BC_BASE, BC_LARGE, ZERO_SHOT, *sweep.hosted_models()):
            references = sweep.results_with(reference, setting.rule)
            by_env = compare_with_policy(sweep.results_of(setting), sweep.iterations, references, reference)
            name = f"{sweep.policy_label(setting)} against {reference}"
            tests += [(f"{name}: {env}", by_env[env]) for env in sweep.environments if env in by_env]
    adjusted = holm([comparison.test.p_value for _, comparison in tests])
    rows = [[name, *paired_cells(result), format_p_value(p_value)] for (name, result), p_value in zip(tests, adjusted, strict=True)]
    text = (
        "Policies of the same seed on the same instructions. p: exact sign flips over the instructions, all seeds of an instruction at"
        " once; with one seed this is the exact McNemar test. The interval is from a bootstrap over the instructions. n: pairs of episodes."
        " Holm's correction covers the whole table."
    )
    return Section("Paired tests", text, [Table(["comparison", *PAIRED_COLUMNS, "p (Holm)"], rows)])


def _paired_row(sweep: Sweep, name: str, setting: Setting, other: Setting) -> list[str]:
    tests = compare_settings(sweep.results_of(setting), sweep.results_of(other), sweep.iterations)
    return [name, *paired_cells(tests.get(OVERALL))]


def _groups_with_equal(sweep: Sweep, names: Sequence[str]) -> list[list[Setting]]:
    """The groups of two or more settings with equal values of the parameters `names`."""
    groups: defaultdict[tuple[str, ...], list[Setting]] = defaultdict(list)
    for setting in sweep.settings:
        groups[tuple(getattr(setting, name) for name in names)].append(setting)
    return [settings for settings in groups.values() if len(settings) > 1]


def _section(title: str, name: str, sweep: Sweep, groups: list[list[Setting]], rows: list[list[str]], none: str) -> Section:
    """The paired rows, and rates and a plot on the seeds that all settings of the groups have. `none`: the text without rows."""
    if not rows:
        return Section(title, none)
    text = f"The policies after {format_count(sweep.iterations, 'iteration')}, paired by seed and instruction."
    tables = [Table(["pair", *PAIRED_COLUMNS], rows)]
    settings = sorted({setting for group in groups for setting in group}, key=Setting.sort_key)
    common = set.intersection(*({result.seed for result in sweep.results_of(setting)} for setting in settings))
    if not common:
        return Section(title, f"{text} No seed has all of these settings.", tables)
    results = {setting.label(settings): [result for result in sweep.results_of(setting) if result.seed in common] for setting in settings}
    seeds = format_seeds(common)
    scores = {label: score_after(of_setting, sweep.iterations) for label, of_setting in results.items()}
    cells = [[label, *(format_rate(by_env.get(env)) for env in sweep.environments)] for label, by_env in scores.items()]
    tables.append(Table([f"success, {seeds}", *sweep.environments], cells))
    curves = {label: score_curve(of_setting, OVERALL) for label, of_setting in results.items()}
    figure = plots.curves(curves, {}, f"All environments, {seeds}")
    text += f" The rates and the plot use the seeds that all of these settings have: {seeds}."
    return Section(title, text, tables, {f"curve-{name}": figure})
