"""How long to wait for a process that is starting: on a busy machine as long as it works, and no longer if it hangs.

Invariant: a wait ends, whatever the process does.
"""

from __future__ import annotations

import time

import psutil

EXTENSION_SECONDS = 60.0
"""After its time the wait goes on by this much while the process and its children work. A start of Prefect needs about twelve."""
MIN_PROCESSOR_SECONDS, MAX_PROCESSOR_SECONDS = 0.5, 300.0
MAX_SECONDS = 1800.0


class StartupWait:
    """The wait for the process `pid`, which gets `seconds` in any case."""

    def __init__(self, pid: int, seconds: float) -> None:
        self._pid, self._start, self._used = pid, time.monotonic(), 0.0
        self._deadline = self._start + seconds

    def elapsed(self) -> float:
        """Seconds since the start of the wait."""
        return time.monotonic() - self._start

    def is_over(self) -> bool:
        """Whether the time is up: the process used less than MIN_PROCESSOR_SECONDS since the last extension, or a limit is reached."""
        if time.monotonic() < self._deadline:
            return False
        before, self._used = self._used, _processor_seconds(self._pid)
        self._deadline += EXTENSION_SECONDS
        return not before + MIN_PROCESSOR_SECONDS <= self._used <= MAX_PROCESSOR_SECONDS or self.elapsed() > MAX_SECONDS


def _processor_seconds(pid: int) -> float:
    """What the process and its children have used so far; 0 if it has ended."""
    try:
        process = psutil.Process(pid)
        used = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    except psutil.Error:
        return 0.0
    return float(sum(times.user + times.system for times in used))
