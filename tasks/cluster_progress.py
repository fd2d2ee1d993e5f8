"""The progress of a task on a node, brought to the user of the run.

Invariant: progress changes no result, and where it is lost on its way (its actor dies with a node), the task goes on.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks.progress import ProgressCallback, say, send_progress_to
from tasks.progress_board import ProgressBoard, ProgressReport

REPORT_INTERVAL = 1.0
"""Seconds between two reports of a task."""
DELIVERED_WITHIN = 10.0
"""Seconds after which a report counts as lost."""


@contextmanager
def forward_progress(board: Any) -> Iterator[None]:
    """On a node: send the progress of the task to the board (a handle of a ProgressBoard); None: to the node's log, as elsewhere.

    The first report says that the process starts, so that a task without a step to do is seen as well.
    """
    if board is None:
        yield
        return
    reporter = _Reporter(board)
    reporter.wait_until_delivered()
    with send_progress_to(reporter):
        yield
    reporter.wait_until_delivered()


class _Reporter:
    """Reports the progress of this process to the board."""

    def __init__(self, board: Any) -> None:
        self._board, self._process = board, (platform.node(), os.getpid())
        self._send(None, None, None)

    def __call__(self, done: int, total: int | None = None, value: Any = None) -> None:
        if time.monotonic() - self._last_sent >= REPORT_INTERVAL or not self._has_step or done == total:
            self._send(done, total, value)

    def _send(self, done: int | None, total: int | None, value: Any) -> None:
        self._last_sent, self._has_step = time.monotonic(), done is not None
        self._last = self._board.add.remote(ProgressReport(self._process, done, total, value))

    def wait_until_delivered(self) -> None:
        import ray

        ray.wait([self._last], timeout=DELIVERED_WITHIN)


class ProgressReceiver:
    """On the machine of the run: shows the reports of one task, and says where a task starts again after it was lost."""

    def __init__(self, ray: Any, title: str, progress: ProgressCallback) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray, self._title, self._progress = ray, title, progress
        # Not soft: Ray then takes any node for an actor that needs no processor, also one that may be lost.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.board = ray.remote(ProgressBoard).options(num_cpus=0, scheduling_strategy=here).remote()
        self._taken = self.board.take.remote()
        self._process: tuple[str, int] | None = None
        self._starts_again = False

    def show(self) -> None:
        """Show what has arrived."""
        if self._show_answer(0.0):
            self._taken = self.board.take.remote()

    def _show_answer(self, wait_seconds: float) -> bool:
        """Show the reports of the last request; returns whether its answer came."""
        try:
            if not self._ray.wait([self._taken], timeout=wait_seconds)[0]:
                return False
            reports = self._ray.get(self._taken)
        except self._ray.exceptions.RayError:
            return False  # the actor died with its node
        for report in reports:
            if report.done is None:
                self._show_start(report.process)
            elif report.process == self._process:  # the process of a lost node can live on for some seconds
                self._show_step(report.done, report)
        return True

    def _show_start(self, process: tuple[str, int]) -> None:
        if self._process is not None:
            say(f"{self._title}: its process or node was lost; it starts again on node {process[0]}")
            self._starts_again = True
        self._process = process

    def _show_step(self, done: int, report: ProgressReport) -> None:
        if self._starts_again:
            say(f"{self._title}: it continues after step {done - 1}")
            self._starts_again = False
        self._progress(done, report.total, report.value)

    def close(self) -> None:
        """Show what is left, and let the actor go.

        Ray ends an actor that nothing refers to. `ray.kill` must not do it: where an answer of the actor arrives at the same time, Ray
        aborts this process ("Tried to complete task that was not pending").
        """
        if self._show_answer(DELIVERED_WITHIN):  # it may have been asked for before the last report came
            self._taken = self.board.take.remote()
            self._show_answer(DELIVERED_WITHIN)
        del self.board
