"""The building blocks of a sweep's report: sections and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentevol.report.formatting import MISSING, format_interval_points, format_p_equation, format_p_value, format_points
from agentevol.report.sweep.model import SeedsComparison


@dataclass(frozen=True, slots=True)
class Table:
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the report.

    `figures`: SVG text by file name, without the suffix; `details`: (summary, text) pairs that the page shows on demand.
    """

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    details: Sequence[tuple[str, str]] = ()


PAIRED_COLUMNS = ("n", "points", "gained", "lost", "p", "instructions", "points, 95 %", "each seed: gained/lost, McNemar p")
"""The columns of `paired_cells`. `p`: by sign flips over the instructions; with one seed this is the exact McNemar test."""


def paired_cells(comparison: SeedsComparison | None) -> list[str]:
    """The cells of a comparison; `-` in each without one."""
    if comparison is None:
        return [MISSING] * len(PAIRED_COLUMNS)
    test = comparison.test
    seeds = [
        f"seed {seed}: {own.only_a}/{own.only_b}, {format_p_equation(own.p_value)}" for seed, own in sorted(comparison.by_seed.items())
    ]
    cells = [str(test.n), format_points(test), str(test.only_a), str(test.only_b), format_p_value(test.p_value)]
    return [*cells, str(test.clusters), format_interval_points(test), "; ".join(seeds)]
