"""A finding of the gate, with a remedy for the user.

Invariant: a finding names its check, the rows that fail it, the problem and a remedy.
"""

from __future__ import annotations

from dataclasses import dataclass

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """A check that failed. `rows`: the labels of the rows that fail it, empty if the check is not about single rows; `count`: how many."""

    check: str
    rows: list[str]
    count: int
    problem: str
    remedy: str

    def __str__(self) -> str:
        shown = ", ".join(self.rows[:_SHOWN])
        more = f" and {self.count - _SHOWN} more" if self.rows and self.count > _SHOWN else ""
        where = f" ({self.count} {'row' if self.count == 1 else 'rows'}: {shown}{more})" if self.rows else ""
        return f"{self.check}: {self.problem}{where}. What to do: {self.remedy}"
