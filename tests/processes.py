"""Processes that a test has started, directly or not."""

from __future__ import annotations

import psutil


def command_of(process: psutil.Process) -> list[str]:
    """Its command line; empty for a process that has ended, also if nobody has waited for it yet (one of another test, for example)."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
