"""Merging: the training set of an iteration, from the expert set and the kept explorations.

Invariant: the order of the rows depends on the order of the input alone. Rows are streamed; only a digest of each stays in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from agentevol.data.trajectory import Trajectory
from agentevol.settings.types import Merge


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge put together: rows from the expert set and from exploration, and the duplicates left out of each other."""

    how: Merge
    initial: int
    explored: int
    duplicates: int
    rows: int


class Merger:
    """The training set of an iteration from the expert set and the kept explorations.

    "initial": the expert set and the last exploration; "cumulative": the expert set and all of them; "none": the last alone.
    Where rows are duplicates (the same instruction, the same answers), the first stays. `report` is of the rows that have passed by.
    """

    def __init__(self, how: Merge) -> None:
        self.how = how
        self._taken = {"initial": 0, "explored": 0}
        self._seen: set[bytes] = set()

    def merge(self, initial: Iterable[Trajectory], explored: Sequence[Iterable[Trajectory]]) -> Iterator[Trajectory]:
        """`explored`: one stream per iteration, oldest first. What the rule leaves out is not read."""
        if self.how != "none":
            yield from self._different(initial, "initial")
        for iteration in explored if self.how == "cumulative" else explored[-1:]:
            yield from self._different(iteration, "explored")

    def report(self) -> MergeReport:
        initial, explored = self._taken["initial"], self._taken["explored"]
        rows = len(self._seen)
        return MergeReport(self.how, initial, explored, initial + explored - rows, rows)

    def _different(self, trajectories: Iterable[Trajectory], source: str) -> Iterator[Trajectory]:
        for trajectory in trajectories:
            self._taken[source] += 1
            key = bytes.fromhex(trajectory.text_key())
            if key not in self._seen:
                self._seen.add(key)
                yield trajectory


def merge(initial: Iterable[Trajectory], explored: Sequence[Iterable[Trajectory]], how: Merge) -> tuple[list[Trajectory], MergeReport]:
    """What a Merger makes of sets in memory, and its report."""
    merger = Merger(how)
    return list(merger.merge(initial, explored)), merger.report()
