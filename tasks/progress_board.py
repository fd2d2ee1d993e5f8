"""The reports of a task's progress, as an actor on the cluster keeps them.

Imports nothing but the standard library, so that the actor's process starts quickly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """`process`: the process that computes the task, by the name of its node and its id there. `done`: None when it starts."""

    process: tuple[str, int]
    done: int | None
    total: int | None
    value: Any


class ProgressBoard:
    """A Ray actor that keeps the reports of a task until the machine of the run takes them."""

    def __init__(self) -> None:
        self._reports: list[ProgressReport] = []

    def add(self, report: ProgressReport) -> None:
        self._reports.append(report)

    def take(self) -> list[ProgressReport]:
        reports, self._reports = self._reports, []
        return reports
