"""Progress output: one line per step, and a progress bar for everything that takes longer.

Invariant: nothing here changes a result. Bars are drawn only on a terminal; elsewhere (a worker, a log file) one line per minute reports
the progress.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

ProgressCallback = Callable[..., None]
LOG_INTERVAL = 60.0
"""Seconds between two lines if there is no terminal."""
_receiver: ContextVar[ProgressCallback | None] = ContextVar("_receiver", default=None)


@lru_cache(maxsize=1)
def console() -> Console:
    """Standard error, so that a command's result on standard output can be piped."""
    return Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """Print one line for the user: to Prefect's log if that is shown, otherwise directly to the terminal."""
    try:
        logger = get_run_logger()
    except MissingContextError:
        logger = None
    if logger is not None and logger.isEnabledFor(logging.INFO):
        logger.info(message)
    else:
        console().print(message, markup=False, soft_wrap=True)


@contextmanager
def progress_bar(title: str) -> Iterator[ProgressCallback]:
    """A progress bar. Call the yielded function with (done, total) and optionally a third value to display, such as the loss."""
    if receiver := _receiver.get():
        yield receiver
        return
    if not console().is_terminal:
        yield _periodic_lines(title)
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[value]}"),
        console=console(),
        transient=True,
    ) as progress:
        row = progress.add_task(title, total=None, value="")

        def update(done: int, total: int | None = None, value: Any = None) -> None:
            progress.update(row, completed=done, total=total, value=_format_value(value))

        yield update


@contextmanager
def send_progress_to(receiver: ProgressCallback) -> Iterator[None]:
    """In this context `receiver` gets the progress, and no bar is drawn."""
    token = _receiver.set(receiver)
    try:
        yield
    finally:
        _receiver.reset(token)


def _periodic_lines(title: str) -> ProgressCallback:
    """For logs: one line per minute, so that short work prints nothing.

    The time left follows from the work since the first call, because a training that continues from a checkpoint begins in the middle.
    """
    last_line = time.monotonic()
    first: tuple[float, int] | None = None

    def update(done: int, total: int | None = None, value: Any = None) -> None:
        nonlocal last_line, first
        now = time.monotonic()
        first_time, first_done = first = first or (now, done)
        if now - last_line < LOG_INTERVAL:
            return
        last_line = now
        left = ""
        if total and first_done < done < total:
            left = f", {_time_left((now - first_time) * (total - done) / (done - first_done))} left"
        say(f"{title}: {done}{f' of {total}' if total else ''}{left}{f' ({_format_value(value)})' if value is not None else ''}")

    return update


def _time_left(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds > 60 else "less than a minute"


def _format_value(value: Any) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
