"""The git commit of the running code, recorded with every run.

Invariant: only reads. Without git or outside a checkout of this product, the results are empty: a virtual environment in another repository
says nothing about this code.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE_FOLDERS = ("agentevol", "envs", "flows", "tasks")


def commit() -> str:
    """The full commit hash; empty if the code is not in a checkout."""
    return _git("rev-parse", "HEAD") if _is_checkout() else ""


def has_uncommitted_changes() -> bool:
    """Whether the code differs from its commit."""
    return _is_checkout() and bool(_git("status", "--porcelain", "--", *SOURCE_FOLDERS))


def _is_checkout() -> bool:
    """Whether this code is the repository, not a folder inside another one."""
    root = _git("rev-parse", "--show-toplevel")
    return bool(root) and Path(root).resolve() == REPOSITORY


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""
