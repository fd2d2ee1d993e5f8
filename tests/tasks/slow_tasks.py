"""Tasks for the tests of the cluster. The nodes import them from here."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks import cluster_node, cluster_training, paths
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task
from tasks.progress_board import ProgressReport

STARTED, WAIT, STOPPED = "started", "wait", "stopped"
"""Folders and files in the project: one file per start of a task, a file that keeps the tasks from ending, and one with the id of the
process that stopped after two steps."""


@cached_task("text", version="1")
def letters(out: Path, *, letter: str) -> TaskOutput:
    """Says in the folder STARTED which process computes it, and waits while the file WAIT exists. The letter ! is refused."""
    if letter == "!":
        raise ValueError(f"no such letter: {letter}")
    started = paths.root() / STARTED
    started.mkdir(exist_ok=True)
    (started / f"{letter}-{os.getpid()}-{uuid.uuid4().hex[:6]}").touch()
    while (paths.root() / WAIT).exists():
        time.sleep(0.05)
    (out / "text").write_text(letter * 3)
    return TaskOutput(facts={"process": os.getpid()})


@cached_task("text", version="1")
def thread_count(out: Path, *, call: int, policy: Artifact | None = None) -> TaskOutput:
    """Says how many threads PyTorch has."""
    import torch

    (out / "call").write_text(str(call))
    return TaskOutput(facts={"threads": torch.get_num_threads()})


@dataclass(frozen=True, slots=True)
class StoppingBoard:
    """Gives the reports to `board`. The first process that has done two steps stops there until it is killed, however fast it is."""

    board: Any

    @property
    def add(self) -> StoppingBoard:
        return self

    def remote(self, report: ProgressReport) -> Any:
        delivered = self.board.add.remote(report)
        if report.done is not None and report.done >= 2 and not (stopped := paths.root() / STOPPED).exists():
            stopped.with_suffix(".tmp").write_text(str(os.getpid()))
            stopped.with_suffix(".tmp").rename(stopped)
            while True:
                time.sleep(60)
        return delivered


def compute_here(*arguments: Any) -> str:
    """tasks.cluster_node.compute_here with a StoppingBoard."""
    return cluster_node.compute_here(*arguments[:-1], StoppingBoard(arguments[-1]))


def train_here(*arguments: Any) -> tuple[dict[str, Any], str]:
    """tasks.cluster_training.train_here with a StoppingBoard."""
    return cluster_training.train_here(*arguments[:-1], StoppingBoard(arguments[-1]))
