"""What a check of the gate found wrong, in words that a user can act on."""

from __future__ import annotations

from dataclasses import dataclass

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """A check that failed: on which rows (by label; empty where it is not about single rows), how many, what is wrong, what to do."""

    check: str
    rows: list[str]
    count: int
    what: str
    remedy: str

    def __str__(self) -> str:
        shown = ", ".join(self.rows[:_SHOWN])
        more = f" and {self.count - _SHOWN} more" if self.rows and self.count > _SHOWN else ""
        where = f" ({self.count} {'row' if self.count == 1 else 'rows'}: {shown}{more})" if self.rows else ""
        return f"{self.check}: {self.what}{where}. What to do: {self.remedy}"
