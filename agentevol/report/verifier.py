"""The quality of a verifier as rows of a table, by environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentevol.report.formatting import MISSING, format_auc

Qualities = Mapping[str, Mapping[str, Any]]
"""The fields of agentevol.verifier.quality.VerifierQuality as JSON values, by environment."""


def verifier_rows(by_env: Qualities) -> tuple[list[str], list[list[str]]]:
    """One row per environment."""

    def number(value: float | None) -> str:
        return MISSING if value is None else f"{value:.3f}"

    rows = []
    for env, quality in by_env.items():
        errors = [number(quality[name]) for name in ("rounds_auc", "brier", "base_brier", "calibration_error", "mean_prediction")]
        rows.append([env, str(quality["n"]), str(quality["successes"]), format_auc(quality), *errors])
    return ["environment", "n", "successes", "AUC", "AUC of the rounds", "Brier", "of the rate", "calibration error", "mean"], rows
