"""Merging: the training set of an iteration, from the expert set and the kept explorations.

Invariant: the order of the rows depends on the order of the input only. Rows are streamed; only a digest of each stays in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from agentevol.data.trajectory import Trajectory
from agentevol.settings.types import Merge


@dataclass(frozen=True, slots=True)
class MergeReport:
    """The result of a merge: rows read from the expert set and from explorations, duplicates removed, and rows written."""

    how: Merge
    initial: int
    explored: int
    duplicates: int
    rows: int


class Merger:
    """The training set of an iteration from the expert set and the kept explorations.

    "initial": the expert set and the last exploration; "cumulative": the expert set and all explorations; "none": the last exploration.
    Of duplicates (the same instruction and the same answers) the first is kept, or all of them where `deduplicate` is false. `report`
    covers the rows that have been read so far.
    """

    def __init__(self, how: Merge, deduplicate: bool = True) -> None:
        self.how, self.deduplicate = how, deduplicate
        self._read = {"initial": 0, "explored": 0}
        self._rows = 0
        self._seen: set[bytes] = set()

    def merge(self, initial: Iterable[Trajectory], explored: Sequence[Iterable[Trajectory]]) -> Iterator[Trajectory]:
        """The merged rows. `explored`: one stream per iteration, oldest first; streams that are not part of the merge are not read."""
        if self.how != "none":
            yield from self._unseen(initial, "initial")
        for iteration in explored if self.how == "cumulative" else explored[-1:]:
            yield from self._unseen(iteration, "explored")

    def report(self) -> MergeReport:
        initial, explored = self._read["initial"], self._read["explored"]
        return MergeReport(self.how, initial, explored, initial + explored - self._rows, self._rows)

    def _unseen(self, trajectories: Iterable[Trajectory], source: str) -> Iterator[Trajectory]:
        for trajectory in trajectories:
            self._read[source] += 1
            key = bytes.fromhex(trajectory.text_key())
            if key not in self._seen or not self.deduplicate:
                self._seen.add(key)
                self._rows += 1
                yield trajectory


def merge(
    initial: Iterable[Trajectory], explored: Sequence[Iterable[Trajectory]], how: Merge, deduplicate: bool = True
) -> tuple[list[Trajectory], MergeReport]:
    """The rows that a Merger yields, as a list, and its report."""
    merger = Merger(how, deduplicate)
    return list(merger.merge(initial, explored)), merger.report()
