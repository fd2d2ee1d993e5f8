"""Writes the report of a run: tables, plot, metrics and scores as files.

Invariant: the same input gives the same files.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agentevol.evaluation.paired_tests import PairedTest
from agentevol.evaluation.scores import OVERALL, Score, success_with_errors_failed
from agentevol.report.model import BC_BASE, BC_LARGE, RANDOM, ZERO_SHOT, ReportInput, Scores
from agentevol.report.plots import draw_curve
from agentevol.report.tables import as_markdown, as_text


@dataclass(frozen=True, slots=True)
class Report:
    """A written report: its folder, its text for a terminal, its Markdown, and the metrics of metrics.json."""

    folder: Path
    text: str
    markdown: str
    metrics: dict[str, Any]


def write_report(folder: Path, runs: ReportInput) -> Report:
    """Write table.txt, table.md, curve.png, curve.csv, metrics.json and scores.json into `folder`, which is created if needed.

    Raises ValueError if BC-Base has no scores, a policy has no overall score, or the selected policy is not one of the curve.
    """
    _check(runs)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = Report(folder, as_text(runs), as_markdown(runs), metrics(runs))
    (folder / "table.txt").write_text(report.text, encoding="utf-8")
    (folder / "table.md").write_text(report.markdown, encoding="utf-8")
    (folder / "metrics.json").write_text(_json(report.metrics), encoding="utf-8")
    (folder / "scores.json").write_text(_json(_scores(runs)), encoding="utf-8")
    (folder / "curve.csv").write_text(_curve_csv(runs), encoding="utf-8")
    draw_curve(folder / "curve.png", runs)
    return report


def metrics(runs: ReportInput) -> dict[str, Any]:
    """Success, reward and (where recorded) progress of the selected policy ("final"), BC-Base, BC-Large, the base model zero-shot and the
    random baseline, and the gain over BC-Base, as JSON values. Without a validation split the last iteration is final. `iterations`: how
    many ran."""
    policies = {"final": runs.final, "bc_base": BC_BASE}
    policies |= {
        name: label for name, label in (("bc_large", BC_LARGE), ("zero_shot", ZERO_SHOT), ("random", RANDOM)) if label in runs.scores
    }
    values: dict[str, Any] = {
        name: {env: _outcome(score) for env, score in sorted(runs.scores[label].items())} for name, label in policies.items()
    }
    for comparison in runs.comparisons:
        if (comparison.a, comparison.b) == (runs.final, BC_BASE):
            values["gain"] = {env: _pick(result, "difference", "p_value") for env, result in sorted(comparison.results.items())}
    if runs.final == BC_BASE:
        values["gain"] = {env: {"difference": 0.0, "p_value": 1.0} for env in sorted(runs.scores[BC_BASE])}
    values |= {"iterations": len(runs.curve) - 1, "selected_iteration": runs.curve.index(runs.final)}
    return values


def _check(runs: ReportInput) -> None:
    if BC_BASE not in runs.scores:
        raise ValueError(f"a report needs the scores of {BC_BASE}; got {', '.join(runs.scores) or 'none'}")
    if runs.selected and (runs.selected not in runs.curve or runs.selected not in runs.validation):
        raise ValueError(f"{runs.selected} is selected; expected BC-Base or an iteration with scores on the validation split")
    incomplete = [label for label, scores in runs.scores.items() if OVERALL not in scores and label != RANDOM]
    if incomplete:
        raise ValueError(f"{', '.join(incomplete)}: no {OVERALL!r} score; pass the result of evaluation.scores.score")


def _outcome(score: Score) -> dict[str, Any]:
    return _pick(score, "success", "reward", *(["progress"] if score.progress_n else []))


def _pick(result: Score | PairedTest, *names: str) -> dict[str, Any]:
    values = result.to_dict()
    return {name: values[name] for name in names}


def _with_errors(score: Score) -> dict[str, Any]:
    """The score's fields, and its success with errors as failures if there are any."""
    values: dict[str, Any] = score.to_dict()
    success = success_with_errors_failed(values)
    return values if success is None else values | {"success_errors_failed": success}


def _scores(runs: ReportInput) -> dict[str, Any]:
    return {
        "policies": _score_values(runs.scores),
        "validation": _score_values(runs.validation),
        "selected": runs.selected,
        "paired": [
            {"a": test.a, "b": test.b, "results": {env: result.to_dict() for env, result in test.results.items()}}
            for test in runs.comparisons
        ],
        "phases": [
            {
                "name": phase.name,
                "seconds": phase.seconds,
                "episodes": phase.episodes,
                "tokens": phase.tokens,
                "trained_tokens": phase.trained_tokens,
            }
            for phase in runs.phases
        ],
        "exploration": {label: [asdict(group) for group in groups] for label, groups in runs.exploration.items()},
        **({"verifier": runs.verifier} if runs.verifier else {}),
        "meta": dict(runs.meta),
        "remarks": list(runs.remarks),
    }


def _score_values(scores: Mapping[str, Scores]) -> dict[str, Any]:
    return {label: {env: _with_errors(score) for env, score in of_policy.items()} for label, of_policy in scores.items()}


def _curve_csv(runs: ReportInput) -> str:
    """One row per iteration (0 is BC-Base): overall success and that of each environment, with intervals."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    parts = ("", "_low", "_high")
    names = [OVERALL, *runs.environments[:-1]]
    writer.writerow(["iteration", *(f"{env}{part}" for env in names for part in parts)])
    for iteration, label in enumerate(runs.curve):
        scores = runs.scores[label]
        values = [scores[env].to_dict()[f"success{part}"] if env in scores else None for env in names for part in parts]
        writer.writerow([iteration, *("" if value is None else f"{value:.6f}" for value in values)])
    return stream.getvalue()


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
