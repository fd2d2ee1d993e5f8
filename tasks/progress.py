"""What a user sees while a task works: one line per step, and a bar for everything that takes longer.

Invariant: nothing here changes a result. Bars are drawn only on a terminal; elsewhere (a worker, a log file) a line
a minute says how far it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Tick = Callable[..., None]
LINE_EVERY = 60.0
"""Seconds between the lines where there is no terminal."""


@lru_cache(maxsize=1)
def console() -> Console:
    """Standard error, so that a command's result on standard output can be piped."""
    return Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """One line for the user: into Prefect's log where that is shown, else straight to the terminal."""
    try:
        logger = get_run_logger()
    except MissingContextError:
        logger = None
    if logger is not None and logger.isEnabledFor(logging.INFO):
        logger.info(message)
    else:
        console().print(message, markup=False, soft_wrap=True)


@contextmanager
def bar(what: str) -> Iterator[Tick]:
    """A progress bar; call what it yields with (done, total), and a third value to be shown beside it, such as the loss."""
    if not console().is_terminal:
        yield _lines(what)
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=console(),
        transient=True,
    ) as progress:
        row = progress.add_task(what, total=None, note="")

        def tick(done: int, total: int | None = None, value: Any = None) -> None:
            progress.update(row, completed=done, total=total, note=_note(value))

        yield tick


def _lines(what: str) -> Tick:
    """For logs: says how far it is once a minute, so that short work says nothing."""
    began = said = time.monotonic()

    def tick(done: int, total: int | None = None, value: Any = None) -> None:
        nonlocal said
        if (now := time.monotonic()) - said < LINE_EVERY:
            return
        said = now
        left = f", about {(now - began) * (total - done) / done / 60:.0f} min left" if total and done else ""
        say(f"{what}: {done}{f' of {total}' if total else ''}{left}{f' ({_note(value)})' if value is not None else ''}")

    return tick


def _note(value: Any) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
