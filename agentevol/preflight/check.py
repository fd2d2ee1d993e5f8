"""The result of one check of a model, before anything is played or trained.

Invariant: a check never raises for a model that cannot be used; it says so, with a remedy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

Status = Literal["ok", "question", "error"]


class PreflightFailed(ValueError):
    """A model cannot be used for what a run needs; the message names each problem and its remedy."""


class Check(NamedTuple):
    """`question`: a run can start, but the user should look at it. `remedy`: empty if the check is ok."""

    name: str
    status: Status
    detail: str
    remedy: str = ""

    def line(self) -> str:
        return f"{self.name}: {self.detail}" + (f"; {self.remedy}" if self.remedy else "")


def raise_if_failed(model: str, checks: Iterable[Check]) -> None:
    """Raise PreflightFailed, in one line, if a check found an error."""
    if errors := [check.line() for check in checks if check.status == "error"]:
        raise PreflightFailed(f"{model}: {' | '.join(errors)}")
