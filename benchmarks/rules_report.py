"""The reports of benchmarks/rules.py: one sweep report per comparison, and results.md with the pairs that the experiment is about.

Invariant: everything comes from the records. A pair without records of both sides on a common seed is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from agentevol.evaluation.paired_tests import holm
from agentevol.evaluation.scores import OVERALL
from agentevol.report.formatting import format_duration, format_p_value, format_rate
from agentevol.report.model import BC_BASE
from agentevol.report.sweep.model import SeedsComparison, Setting, Sweep, compare_settings, compare_with_policy, format_seeds, score_after
from agentevol.report.sweep.records import read_records
from agentevol.report.sweep.section import PAIRED_COLUMNS, paired_cells
from agentevol.report.sweep.write import write_sweep_report
from benchmarks.meter import table

TITLES = {
    "rules": "Learning rules, K = 4",
    "token-mean": "GRPO whose tokens all count the same, K = 4",
    "length-normalized": "DPO with a margin per token, K = 4",
    "three-episodes": "K = 3 and adaptive samples, three episodes per instruction",
    "one-episode": "K = 1 and adaptive samples, one episode per instruction",
    "learned": "A verifier's reward, K = 4",
    "environment": "The environment's reward, K = 4",
}
BASE = Setting("4", "initial", "base", "reward_weighted")
PREVIOUS = replace(BASE, start_from="previous")
GRPO, DPO = replace(PREVIOUS, rule="grpo"), replace(PREVIOUS, rule="dpo")
Side = tuple[str, Setting]
"""A comparison's folder, and a setting in it."""
PAIRS: dict[str, tuple[Side, Side]] = {
    "reward_weighted from the previous policy against from the base model": (("rules", PREVIOUS), ("rules", BASE)),
    **{
        f"{rule} against reward_weighted, from the previous policy": (("rules", replace(PREVIOUS, rule=rule)), ("rules", PREVIOUS))
        for rule in ("threshold", "dpo", "grpo")
    },
    "grpo with sequence_mean against token_mean": (("rules", GRPO), ("token-mean", GRPO)),
    "dpo with a margin per token against the sum": (("length-normalized", DPO), ("rules", DPO)),
    "adaptive against K = 3": (("three-episodes", replace(BASE, samples="adaptive")), ("three-episodes", replace(BASE, samples="3"))),
    "adaptive against K = 1": (("one-episode", replace(BASE, samples="adaptive")), ("one-episode", replace(BASE, samples="1"))),
    "learned reward against the environment's": (("learned", BASE), ("environment", BASE)),
}


def write_reports(results: Path) -> None:
    """Write the reports of the records in `results`/records into `results`."""
    folders = {name: sorted((results / "records" / name).glob("*.json")) for name in TITLES}
    sweeps = {name: read_records(files) for name, files in folders.items() if files}
    for name, sweep in sweeps.items():
        write_sweep_report(results / name, sweep, TITLES[name])
    (results / "results.md").write_text(text(sweeps), encoding="utf-8")


def text(sweeps: Mapping[str, Sweep]) -> str:
    """results.md."""
    sections = ["# Learning rules, adaptive samples and a learned reward", *_introduction(sweeps), "## Scores", _scores(sweeps)]
    sections += ["## Pairs", _PAIRS_TEXT, _pairs(sweeps), "## Against behavioural cloning", _CLONING_TEXT, _against_cloning(sweeps)]
    return "\n\n".join([*sections, "## Costs", _COSTS_TEXT, _costs(sweeps)]) + "\n"


_PAIRS_TEXT = (
    "Policies of the same seed on the same instructions; p by exact sign flips over the instructions, all seeds of an instruction at once."
    " Holm's correction covers the table."
)
_CLONING_TEXT = "The same tests against BC-Base of the same seed and rule."
_COSTS_TEXT = (
    "The mean cost of a run by itself, seed by seed; work that runs share was done once. Training is that of BC-Base and of all iterations."
)


def _introduction(sweeps: Mapping[str, Sweep]) -> list[str]:
    links = [f"- [{TITLES[name]}]({name}/report.md), {format_seeds(sweep.seeds)}, M = {sweep.iterations}" for name, sweep in sweeps.items()]
    machines = dict.fromkeys(str(sweep.meta.get("machine", "")) for sweep in sweeps.values())
    words = (
        "Written by `python -m benchmarks.rules` from records/. The reports of the comparisons have every environment, the coverage by"
        " difficulty, successes on instructions without an expert trajectory, and the quality of the verifier:"
    )
    return [words, "\n".join(links), f"Machine: {'; '.join(machines)}."]


def _scores(sweeps: Mapping[str, Sweep]) -> str:
    environments = next(iter(sweeps.values())).environments if sweeps else []
    rows = []
    for name, sweep in sweeps.items():
        for setting in sweep.settings:
            scores = score_after(sweep.results_of(setting), sweep.iterations)
            rows.append([_label(name, sweep, setting), *(format_rate(scores.get(env)) for env in environments)])
    return table(["success on AgentEval in % [95 %]", *environments], rows)


def _label(name: str, sweep: Sweep, setting: Setting) -> str:
    """`rules: from previous, dpo (seed 0)`"""
    parts = [f"K = {setting.samples}", f"from {setting.start_from}", setting.rule]
    return f"{name}: {', '.join(parts)}{sweep.seeds_suffix(sweep.results_of(setting))}"


def _pairs(sweeps: Mapping[str, Sweep]) -> str:
    found: dict[str, dict[str, SeedsComparison]] = {}
    for title, ((name_a, setting_a), (name_b, setting_b)) in PAIRS.items():
        if name_a in sweeps and name_b in sweeps:
            a, b = sweeps[name_a], sweeps[name_b]
            iterations = min(a.iterations, b.iterations)
            found[title] = compare_settings(a.results_of(setting_a), b.results_of(setting_b), iterations)
    return _tests(found)


def _against_cloning(sweeps: Mapping[str, Sweep]) -> str:
    found = {}
    for name, sweep in sweeps.items():
        for setting in sweep.settings:
            references = sweep.results_with(BC_BASE, setting.rule)
            found[_label(name, sweep, setting)] = compare_with_policy(sweep.results_of(setting), sweep.iterations, references, BC_BASE)
    return _tests(found)


def _tests(found: Mapping[str, Mapping[str, SeedsComparison]]) -> str:
    overall = {title: by_env[OVERALL] for title, by_env in found.items() if OVERALL in by_env}
    adjusted = holm([comparison.test.p_value for comparison in overall.values()])
    rows = [
        [title, *paired_cells(comparison), format_p_value(p_value)]
        for (title, comparison), p_value in zip(overall.items(), adjusted, strict=True)
    ]
    return table(["pair", *PAIRED_COLUMNS, "p (Holm)"], rows) if rows else "No pair yet."


def _costs(sweeps: Mapping[str, Sweep]) -> str:
    rows = []
    for name, sweep in sweeps.items():
        for setting in sweep.settings:
            runs = [run for run in sweep.runs if run.setting == setting]
            totals: defaultdict[str, float] = defaultdict(float)
            for cost in (cost for run in runs for cost in run.costs):
                for key in ("episodes", "tokens", "trained_tokens", "seconds"):
                    totals[key] += getattr(cost, key) / len(runs)
            counts = [f"{totals[key]:,.0f}" for key in ("episodes", "tokens", "trained_tokens")]
            rows.append([_label(name, sweep, setting), *counts, format_duration(totals["seconds"])])
    return table(["run", "episodes", "rollout tokens", "trained tokens", "time"], rows)
