"""What a sweep's report is built of: sections, tables, and how figures are written in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan

from agentevol.evaluation.paired_tests import PairedTest


@dataclass(frozen=True, slots=True)
class Table:
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Section:
    """`pictures`: SVG, with the name of the file that it also is; `unfold`: (summary, text) to be read on demand."""

    title: str
    says: str = ""
    tables: Sequence[Table] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    unfold: Sequence[tuple[str, str]] = ()


PAIRED = ("n", "points", "gained", "lost", "p")
"""The columns that `paired_cells` fills."""


def paired_cells(result: PairedTest | None) -> list[str]:
    if result is None:
        return ["-"] * len(PAIRED)
    points = "-" if isnan(result.difference) else f"{100 * result.difference:+.1f}"
    return [str(result.n), points, str(result.only_a), str(result.only_b), p_value(result.p_value)]


def p_value(value: float) -> str:
    return f"{value:.2g}" if value >= 0.0001 else "< 0.0001"


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
