"""How rates, p-values, differences, counts and durations are written in tables, reports and messages: one function for each."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, isnan
from typing import Any

from agentevol.evaluation.clusters import ClusteredTest
from agentevol.evaluation.paired_tests import PairedTest
from agentevol.evaluation.rounds_per_success import RoundsPerSuccess
from agentevol.evaluation.scores import Score, success_with_errors_failed

MISSING = "-"


def format_rate(
    score: Score | Mapping[str, Any] | None, metric: str = "success", digits: int = 0, unit: str = "", missing: str = MISSING
) -> str:
    """Success, reward or progress x 100 with its 95 % interval: `41.2 [36, 47]`.

    `score`: a Score, or what `Score.to_dict` returns. `digits`: decimals of the interval. `unit`: written after the rate.
    `missing`: the text without a scored episode.
    """
    values: Mapping[str, Any] | None = score.to_dict() if isinstance(score, Score) else score
    if not values or values.get(metric) is None:
        return missing
    value, low, high = (100 * float(values[f"{metric}{part}"]) for part in ("", "_low", "_high"))
    return f"{value:.1f}{unit} [{low:.{digits}f}, {high:.{digits}f}]"


def format_rounds_per_success(measured: RoundsPerSuccess | None) -> str:
    """`12.3 [9.8, 20.1]`; the upper bound may be infinite, and without a success there is no ratio."""
    if measured is None or not isfinite(measured.ratio):
        return MISSING
    return f"{measured.ratio:.1f} [{measured.low:.1f}, {f'{measured.high:.1f}' if isfinite(measured.high) else 'inf'}]"


def format_verifier(quality: Mapping[str, Any]) -> str:
    """`has AUC 0.83 [0.79, 0.87] (0.90 for the number of rounds alone), Brier score 0.151 (0.240 for always ...) ...`.

    `quality`: from `VerifierQuality.to_dict`.
    """
    if quality["auc"] is None:
        return f"saw {quality['successes']} successes in {quality['n']} episodes: too few outcomes of one kind for an AUC"
    brier = f"Brier score {quality['brier']:.3f} ({quality['base_brier']:.3f} for always predicting the success rate)"
    alone = f"({quality['rounds_auc']:.2f} for the number of rounds alone)"
    return f"has AUC {format_auc(quality)} {alone}, {brier}, calibration error {quality['calibration_error']:.2f} on held-out instructions"


def format_auc(quality: Mapping[str, Any]) -> str:
    """`0.83 [0.79, 0.87]`; without an interval where too few samples of the instructions have both outcomes."""
    if quality["auc"] is None:
        return MISSING
    interval = "" if quality["auc_low"] is None else f" [{quality['auc_low']:.2f}, {quality['auc_high']:.2f}]"
    return f"{quality['auc']:.2f}{interval}"


def format_errors(score: Mapping[str, Any]) -> str:
    """`, 3 errors (12.5 % if they count as failures)` after a rate and its n; empty without an error. `score`: from `Score.to_dict`."""
    success = success_with_errors_failed(score)
    return "" if success is None else f", {format_count(score['errors'], 'error')} ({100 * success:.1f} % if they count as failures)"


def format_p_value(value: float) -> str:
    """Two decimals from 0.1 up, three below, `< 0.001` for what is smaller."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def format_p_equation(value: float) -> str:
    """`p = 0.021` or `p < 0.001`, for a sentence."""
    text = format_p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def format_points(test: PairedTest) -> str:
    """The difference of two success rates in percentage points, with its sign: `+8.3`; `-` without a pair."""
    return MISSING if isnan(test.difference) else f"{100 * test.difference:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0")


def format_interval_points(test: ClusteredTest) -> str:
    """The 95 % interval of the difference in percentage points: `[+2.1, +12.9]`; `-` without a pair."""
    bounds = (test.difference_low, test.difference_high)
    return MISSING if isnan(bounds[0]) else f"[{', '.join(f'{100 * bound:+.1f}' for bound in bounds)}]".replace("-0.0", "+0.0")


def format_count(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`"""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_duration(seconds: float) -> str:
    """`8.1 s`, `12 min 05 s`, `1 h 02 min`"""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
