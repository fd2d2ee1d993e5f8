"""Tasks for the tests of the cluster. The nodes import them from here."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

from tasks import paths
from tasks.cached_task import TaskOutput, cached_task

STARTED, WAIT = "started", "wait"
"""Folders and files in the project: one file per start of a task, and a file that keeps the tasks from ending."""


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
