"""Which commit of the product's code is running, so that a run's record leads back to it.

Invariant: only reads; without git or a checkout there is simply nothing to say.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

CODE = Path(__file__).parents[1]
PARTS = ("agentevol", "envs", "flows", "tasks")


def commit() -> str:
    """The commit, in full; empty where the code is in no checkout."""
    return _git("rev-parse", "HEAD")


def changed() -> bool:
    """Whether code differs from its commit."""
    return bool(_git("status", "--porcelain", "--", *PARTS))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(CODE), *arguments], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
