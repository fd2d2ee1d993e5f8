"""The report in words: tables for a terminal of 120 columns, and the same as Markdown.

Invariant: a rate never stands without its interval and its n; when the policies do not fit side by side, they go below one another.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import isnan
from typing import Any

from agentevol.evaluation.paired_tests import PairedTest, holm
from agentevol.evaluation.scores import OVERALL
from agentevol.report.formatting import duration, rate
from agentevol.report.model import RANDOM, Comparison, Phase, ReportInput

WIDTH = 120
_GAP = 3  # columns between the cells of a table
_TOTAL = "total"


def as_text(runs: ReportInput) -> str:
    """The report for a terminal: success, reward where it says more, paired tests, costs. Plain characters, no colours."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, color_system=None, highlight=False, markup=False, emoji=False, legacy_windows=False)

    def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        console.print(title)
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False)
        for index, name in enumerate(header):
            table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
        for row in rows:
            if row[0] in (OVERALL, _TOTAL):
                table.add_section()
            table.add_row(*row)
        console.print(table)
        console.print()

    for title, metric in _metrics(runs):
        for labels, digits in _blocks(runs, metric):
            show(title, *_score_rows(runs, labels, metric, digits))
    for comparison in runs.comparisons:
        show(_headline(comparison), *_paired_rows(comparison))
    if runs.phases:
        show("What it cost", *_phase_rows(runs.phases))
    for note in [*_by_chance(runs), *_notes(runs)]:
        console.print(note)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().rstrip().split("\n"))


def as_markdown(runs: ReportInput) -> str:
    """The report as a page, all policies side by side."""
    parts = ["# AgentEvol on AgentEval", ""]

    def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        parts.extend([f"{title}:" if not title.endswith(".") else title, "", _line(header), _line(["---"] + ["---:"] * (len(header) - 1))])
        parts.extend([*(_line([f"**{cell}**" for cell in row] if row[0] in (OVERALL, _TOTAL) else row) for row in rows), ""])

    for title, metric in _metrics(runs):
        show(title, *_score_rows(runs, list(runs.scores), metric, 1))
    parts += ["![Success over the iterations](curve.png)", ""]
    for comparison in runs.comparisons:
        show(_headline(comparison), *_paired_rows(comparison))
    if runs.phases:
        show("What it cost", *_phase_rows(runs.phases))
    parts += [f"- {note}" for note in _notes(runs)]
    return "\n".join(parts).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _metrics(runs: ReportInput) -> list[tuple[str, str]]:
    """Success always; mean reward only where it is not the success rate once more."""
    found = [("Success on AgentEval in % [95 % Wilson interval]", "success")]
    every = [score for scores in runs.scores.values() for score in scores.values() if score.n]
    if any(abs(score.reward - score.success) > 1e-9 for score in every):
        found.append(("Mean reward on AgentEval x 100 [95 % bootstrap interval]", "reward"))
    return found


def _blocks(runs: ReportInput, metric: str) -> list[tuple[list[str], int]]:
    """The policies in groups that fit the width, and the decimals of their intervals: one group with fewer decimals before several."""
    labels = [label for label in runs.scores if label != RANDOM]  # that one is a note below: it would make the table too wide
    for digits in (1, 0):
        if _fits(runs, labels, metric, digits):
            return [(labels, digits)]
    groups: list[list[str]] = [[]]
    for label in labels:
        if groups[-1] and not _fits(runs, [*groups[-1], label], metric, 1):
            groups.append([])
        groups[-1].append(label)
    return [(group, 1) for group in groups]


def _fits(runs: ReportInput, labels: Sequence[str], metric: str, digits: int) -> bool:
    header, rows = _score_rows(runs, labels, metric, digits)
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    return sum(widths) + _GAP * (len(widths) - 1) <= WIDTH


def _score_rows(runs: ReportInput, labels: Sequence[str], metric: str, digits: int) -> tuple[list[str], list[list[str]]]:
    rows = []
    for env in runs.environments:
        scores = [runs.scores[label].get(env) for label in labels]
        counts = [score.n for score in scores if score]
        rows.append([env, _span(counts), *(rate(score, metric, digits) for score in scores)])
    return ["environment", "n", *labels], rows


def _span(counts: Sequence[int]) -> str:
    if not counts:
        return "0"
    return str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)}-{max(counts)}"  # policies differ where faults were left out


def _headline(comparison: Comparison) -> str:
    """`AgentEvol (iteration 4) against BC-Base: +8.3 points, 45 gained / 25 lost of 240, exact McNemar p = 0.021`"""
    name = f"AgentEvol ({comparison.a[0].lower()}{comparison.a[1:]})" if comparison.a.lower().startswith("iteration") else comparison.a
    overall = comparison.results.get(OVERALL)
    if overall is None or not overall.n:
        return f"{name} against {comparison.b}: no instruction that both played without a fault"
    figures = f"{_points(overall)} points, {overall.only_a} gained / {overall.only_b} lost of {overall.n}"
    return f"{name} against {comparison.b}: {figures}, exact McNemar p {_p(overall.p_value)}"


def _paired_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    names = [env for env in sorted(comparison.results) if env != OVERALL]
    adjusted = dict(zip(names, holm([comparison.results[env].p_value for env in names]), strict=True))
    rows = []
    for env in [*names, *([OVERALL] if OVERALL in comparison.results else [])]:
        result = comparison.results[env]
        cells = [str(result.n), _points(result), str(result.only_a), str(result.only_b), _p(result.p_value).removeprefix("= ")]
        rows.append([env, *cells, _p(adjusted[env]).removeprefix("= ") if env in adjusted else ""])
    return ["environment", "n", "points", "gained", "lost", "p", "p (Holm)"], rows


def _points(result: PairedTest) -> str:
    return "-" if isnan(result.difference) else f"{100 * result.difference:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0")


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}" if value < 0.1 else f"= {value:.2f}"


def _phase_rows(phases: Sequence[Phase]) -> tuple[list[str], list[list[str]]]:
    whole = sum(phase.seconds for phase in phases)
    total = Phase(
        _TOTAL,
        whole,
        sum(phase.episodes for phase in phases),
        sum(phase.tokens for phase in phases),
        sum(phase.trained_tokens for phase in phases),
    )
    rows = []
    for phase in [*phases, total]:
        counts = [f"{count:,}" if count else "-" for count in (phase.episodes, phase.tokens, phase.trained_tokens)]
        rows.append([phase.name, duration(phase.seconds), f"{100 * phase.seconds / whole if whole else 0:.0f} %", *counts])
    return ["step", "time", "share", "episodes", "tokens played", "tokens learnt"], rows


def _by_chance(runs: ReportInput) -> list[str]:
    """The random player in one line; none where no world lists its actions."""
    scores = runs.scores.get(RANDOM, {})
    rates = [f"{env} {rate(scores[env], 'success', 0)}" for env in runs.environments if env in scores]
    return [f"Success of a random player, where worlds list their actions: {', '.join(rates)}"] if rates else []


def _notes(runs: ReportInput) -> list[str]:
    notes = []
    faults = {label: sum(score.errors for env, score in scores.items() if env != OVERALL) for label, scores in runs.scores.items()}
    if any(faults.values()):
        named = ", ".join(f"{count} of {label}" for label, count in faults.items() if count)
        notes.append(f"Ended by a fault and not scored: {named}.")
    notes += runs.remarks
    if runs.meta:
        notes.append("; ".join(f"{key}: {_plain(value)}" for key, value in runs.meta.items()))
    return notes


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    return ", ".join(_plain(one) for one in value) if isinstance(value, list | tuple) else str(value)
