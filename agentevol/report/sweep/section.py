"""The building blocks of a sweep's report: sections and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentevol.evaluation.paired_tests import PairedTest
from agentevol.report.formatting import MISSING, format_p_value, format_points


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


PAIRED_COLUMNS = ("n", "points", "gained", "lost", "p")
"""The columns of `paired_cells`."""


def paired_cells(test: PairedTest | None) -> list[str]:
    """The cells of a paired test; `-` in each without one."""
    if test is None:
        return [MISSING] * len(PAIRED_COLUMNS)
    return [str(test.n), format_points(test), str(test.only_a), str(test.only_b), format_p_value(test.p_value)]
