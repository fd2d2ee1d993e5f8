"""The check that the weight files hold every weight of the architecture. Weights that they lack would be random, others at each loading."""

from __future__ import annotations

from pathlib import Path

from agentevol.models import missing_weights
from agentevol.preflight.check import Check
from agentevol.rollout.engine import one_line_error


def check_weights(folder: Path) -> list[Check]:
    """[] if the model is complete. The files of the folder must have passed `check_files`."""
    try:
        problem = missing_weights(folder)
    except Exception as error:  # named boundary: loading an architecture may fail in any way
        return [Check("weights", "question", f"not compared with the architecture ({one_line_error(error)[:200]})", "see whether it loads")]
    if problem is None:
        return []
    return [Check("weights", "error", problem, "take a causal language model with all its weights")]
