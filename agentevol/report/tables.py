"""The report of a run as tables: plain text for a terminal of 120 columns, and Markdown.

Invariant: every rate is shown with its interval and its n; policies that do not fit side by side are shown in several tables.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from agentevol.evaluation.paired_tests import holm
from agentevol.evaluation.scores import OVERALL, Score, errors_as_failures
from agentevol.report.exploration import exploration_by_difficulty, exploration_rows
from agentevol.report.formatting import (
    MISSING,
    format_duration,
    format_p_equation,
    format_p_value,
    format_points,
    format_rate,
    format_rounds_per_success,
)
from agentevol.report.model import RANDOM, ZERO_SHOT, Comparison, Phase, ReportInput, Scores, environment_names
from agentevol.report.verifier import verifier_rows

WIDTH = 120
_GAP = 3  # characters between two columns of a table
_TOTAL = "total"
_ERRORS_FAILED = "success, errors counted as failures"
_ROUNDS_TITLE = "Rounds per success on AgentEval, those of failures included [95 % bootstrap interval]"
_MARK = "*"
"""Marks the selected policy."""


def as_text(runs: ReportInput) -> str:
    """The report for a terminal, without colours: success, reward if it differs from success, paired tests, costs."""
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

    for title, scores, metric in _score_tables(runs):
        for labels, digits in _blocks(runs, scores, metric):
            show(title, *_score_rows(runs, scores, labels, metric, digits))
    for labels in _groups_that_fit(list(runs.rounds_per_success)):
        show(_ROUNDS_TITLE, *_rounds_rows(runs, labels))
    for label in runs.verifier:
        show(_verifier_title(label), *verifier_rows(runs.verifier[label]))
    for comparison in runs.comparisons:
        show(_headline(runs, comparison), *_paired_rows(comparison))
    if runs.exploration:
        show("Exploration: instructions with an episode, and with a success", *exploration_rows(runs.exploration))
    if runs.phases:
        show("Costs", *_phase_rows(runs.phases))
    for note in _notes(runs):
        console.print(note)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().rstrip().split("\n"))


def as_markdown(runs: ReportInput) -> str:
    """The report as Markdown, all policies side by side."""
    parts = ["# AgentEvol on AgentEval", ""]

    def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        parts.extend([f"{title}:" if not title.endswith(".") else title, "", _line(header), _line(["---"] + ["---:"] * (len(header) - 1))])
        parts.extend([*(_line([f"**{cell}**" for cell in row] if row[0] in (OVERALL, _TOTAL) else row) for row in rows), ""])

    for title, scores, metric in _score_tables(runs):
        show(title, *_score_rows(runs, scores, list(scores), metric, 1))
    if runs.rounds_per_success:
        show(_ROUNDS_TITLE, *_rounds_rows(runs, list(runs.rounds_per_success)))
    for label in runs.verifier:
        show(_verifier_title(label), *verifier_rows(runs.verifier[label]))
    parts += ["![Success over the iterations](curve.png)", ""]
    for comparison in runs.comparisons:
        show(_headline(runs, comparison), *_paired_rows(comparison))
    if runs.exploration:
        show("Exploration: instructions with an episode, and with a success", *exploration_rows(runs.exploration))
        show("Exploration by difficulty: episodes, and instructions with a success", *exploration_by_difficulty(runs.exploration))
    if runs.phases:
        show("Costs", *_phase_rows(runs.phases))
    parts += [f"- {note}" for note in _notes(runs)]
    return "\n".join(parts).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _score_tables(runs: ReportInput) -> list[tuple[str, Mapping[str, Scores], str]]:
    """(title, scores, metric) of the score tables: success, with errors as failures too if there are any, mean reward if it differs, mean
    progress where it was recorded, and success on the validation split."""
    tables = [("Success on AgentEval in % [95 % Wilson interval]", runs.scores, "success")]
    if any(score.errors for scores in runs.scores.values() for score in scores.values()):
        tables.append(("Success in % with errors counted as failures [95 % Wilson interval]", runs.scores, _ERRORS_FAILED))
    scored = [score for scores in runs.scores.values() for score in scores.values() if score.n]
    if any(abs(score.reward - score.success) > 1e-9 for score in scored):
        tables.append(("Mean reward on AgentEval x 100 [95 % bootstrap interval]", runs.scores, "reward"))
    if any(score.progress_n for score in scored):
        tables.append(("Mean progress on AgentEval x 100 [95 % bootstrap interval]", runs.scores, "progress"))
    if runs.validation:
        tables.append(("Success on the validation split in % [95 % Wilson interval]", runs.validation, "success"))
    return tables


def _blocks(runs: ReportInput, scores: Mapping[str, Scores], metric: str) -> list[tuple[list[str], int]]:
    """Groups of policies that fit the width, with the decimals of their intervals: one group with fewer decimals if possible."""
    labels = list(scores)
    for digits in (1, 0):
        if _fits(runs, scores, labels, metric, digits):
            return [(labels, digits)]
    groups: list[list[str]] = [[]]
    for label in labels:
        if groups[-1] and not _fits(runs, scores, [*groups[-1], label], metric, 1):
            groups.append([])
        groups[-1].append(label)
    return [(group, 1) for group in groups]


def _fits(runs: ReportInput, scores: Mapping[str, Scores], labels: Sequence[str], metric: str, digits: int) -> bool:
    header, rows = _score_rows(runs, scores, labels, metric, digits)
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    return sum(widths) + _GAP * (len(widths) - 1) <= WIDTH


def _score_rows(
    runs: ReportInput, scores: Mapping[str, Scores], labels: Sequence[str], metric: str, digits: int
) -> tuple[list[str], list[list[str]]]:
    rows = []
    for env in environment_names(scores):
        env_scores: list[Score | None] = [scores[label].get(env) for label in labels]
        if metric == _ERRORS_FAILED:
            env_scores = [score and errors_as_failures(score) for score in env_scores]
        counts = [score.progress_n if metric == "progress" else score.n for score in env_scores if score]
        name = "success" if metric == _ERRORS_FAILED else metric
        rows.append([env, _count_range(counts), *(format_rate(score, name, digits) for score in env_scores)])
    return ["environment", "n", *(f"{label}{_MARK}" if label == runs.selected else label for label in labels)], rows


def _groups_that_fit(labels: list[str]) -> list[list[str]]:
    """The labels in groups that fit the width side by side."""
    most = WIDTH // 20 - 1
    return [labels[start : start + most] for start in range(0, len(labels), most)]


def _rounds_rows(runs: ReportInput, labels: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for env in environment_names(runs.scores):
        measured = [runs.rounds_per_success[label].get(env) for label in labels]
        rows.append([env, _count_range([of_policy.n for of_policy in measured if of_policy]), *map(format_rounds_per_success, measured)])
    return ["environment", "n", *(f"{label}{_MARK}" if label == runs.selected else label for label in labels)], rows


def _verifier_title(label: str) -> str:
    return f"{label}: the verifier of its explored episodes, on held-out instructions [95 % bootstrap interval over instructions]"


def _count_range(counts: Sequence[int]) -> str:
    if not counts:
        return "0"
    return str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)}-{max(counts)}"  # n differs by the number of errors


def _headline(runs: ReportInput, comparison: Comparison) -> str:
    """`AgentEvol (iteration 4, selected) against BC-Base: +8.3 points, 45 gained / 25 lost of 240, exact McNemar p = 0.021`"""
    name = comparison.a
    if name.lower().startswith("iteration"):
        name = f"AgentEvol ({name[0].lower()}{name[1:]}{', selected' if name == runs.selected else ''})"
    overall = comparison.results.get(OVERALL)
    if overall is None or not overall.n:
        return f"{name} against {comparison.b}: no instruction that both policies played without an error"
    counts = f"{format_points(overall)} points, {overall.only_a} gained / {overall.only_b} lost of {overall.n}"
    return f"{name} against {comparison.b}: {counts}, exact McNemar {format_p_equation(overall.p_value)}"


def _paired_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    names = [env for env in sorted(comparison.results) if env != OVERALL]
    adjusted = dict(zip(names, holm([comparison.results[env].p_value for env in names]), strict=True))
    rows = []
    for env in [*names, *([OVERALL] if OVERALL in comparison.results else [])]:
        result = comparison.results[env]
        cells = [str(result.n), format_points(result), str(result.only_a), str(result.only_b), format_p_value(result.p_value)]
        rows.append([env, *cells, format_p_value(adjusted[env]) if env in adjusted else ""])
    return ["environment", "n", "points", "gained", "lost", "p", "p (Holm)"], rows


def _phase_rows(phases: Sequence[Phase]) -> tuple[list[str], list[list[str]]]:
    seconds = sum(phase.seconds for phase in phases)
    total = Phase(
        _TOTAL,
        seconds,
        sum(phase.episodes for phase in phases),
        sum(phase.tokens for phase in phases),
        sum(phase.trained_tokens for phase in phases),
    )
    rows = []
    for phase in [*phases, total]:
        counts = [f"{count:,}" if count else "-" for count in (phase.episodes, phase.tokens, phase.trained_tokens)]
        rows.append([phase.name, format_duration(phase.seconds), f"{100 * phase.seconds / seconds if seconds else 0:.0f} %", *counts])
    return ["step", "time", "share", "episodes", "rollout tokens", "trained tokens"], rows


def _notes(runs: ReportInput) -> list[str]:
    notes = []
    if runs.selected:
        n = runs.validation[runs.selected][OVERALL].n
        notes.append(f"{_MARK} selected on the validation split ({n} instructions), not on AgentEval: the result of the run.")
    if RANDOM in runs.scores:
        notes.append(f"{RANDOM} picks among the actions that an environment lists, {MISSING} where it lists none.")
    if ZERO_SHOT in runs.scores:
        notes.append(f"{ZERO_SHOT} is the base model before any training.")
    errors = {label: sum(score.errors for env, score in scores.items() if env != OVERALL) for label, scores in runs.scores.items()}
    if any(errors.values()):
        counts = ", ".join(f"{count} of {label}" for label, count in errors.items() if count)
        notes.append(f"Ended by an error and not scored: {counts}. They are part of no paired test.")
    notes += runs.remarks
    if runs.meta:
        notes.append("; ".join(f"{key}: {_format_value(value)}" for key, value in runs.meta.items()))
    return notes


def _format_value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_format_value(item)}" for key, item in value.items())
    return ", ".join(_format_value(item) for item in value) if isinstance(value, list | tuple) else str(value)
