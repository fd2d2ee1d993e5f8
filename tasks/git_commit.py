"""The git commit of the running code, recorded with every run.

Invariant: only reads. Without git or outside a checkout, the results are empty.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SOURCE_FOLDERS = ("agentevol", "envs", "flows", "tasks")


def commit() -> str:
    """The full commit hash; empty if the code is not in a checkout."""
    return _git("rev-parse", "HEAD")


def has_uncommitted_changes() -> bool:
    """Whether the code differs from its commit."""
    return bool(_git("status", "--porcelain", "--", *SOURCE_FOLDERS))


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""
