"""The progress of a task on a node, brought to the user of the run.

Invariant: progress changes no result, and where it is lost on its way (its actor dies with a node), the task goes on.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from tasks.progress import ProgressCallback, say, send_progress_to
from tasks.progress_board import ProgressBoard, ProgressReport

REPORT_INTERVAL = 1.0
"""Seconds between two reports of a task."""


@contextmanager
def forward_progress(board: Any) -> Iterator[None]:
    """On a node: send the progress of the task to the board (a handle of a ProgressBoard); None: to the node's log, as elsewhere."""
    with send_progress_to(_reporter(board)) if board is not None else nullcontext():
        yield


def _reporter(board: Any) -> ProgressCallback:
    process, last = (platform.node(), os.getpid()), 0.0

    def report(done: int, total: int | None = None, value: Any = None) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= REPORT_INTERVAL or done == total:
            last = now
            board.add.remote(ProgressReport(process, done, total, value))

    return report


class ProgressReceiver:
    """On the machine of the run: shows the reports of one task, and says where a task goes on after it was lost."""

    def __init__(self, ray: Any, title: str, progress: ProgressCallback) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray, self._title, self._progress = ray, title, progress
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self.board = ray.remote(ProgressBoard).options(num_cpus=0, scheduling_strategy=here).remote()
        self._taken = self.board.take.remote()
        self._process: tuple[str, int] | None = None

    def show(self, wait_seconds: float = 0.0) -> None:
        """Show what has arrived."""
        try:
            if not self._ray.wait([self._taken], timeout=wait_seconds)[0]:
                return
            reports, self._taken = self._ray.get(self._taken), self.board.take.remote()
        except self._ray.exceptions.RayError:
            return  # the actor died with its node
        for report in reports:
            if self._process not in (None, report.process):
                say(f"{self._title}: its process or node was lost; it goes on after step {report.done - 1} on node {report.process[0]}")
            self._process = report.process
            self._progress(report.done, report.total, report.value)

    def close(self) -> None:
        for _ in range(2):  # the first may have been asked for before the last report came
            self.show(wait_seconds=1.0)
        self._ray.kill(self.board)
