"""The trajectories and settings that the tests of training share."""

from __future__ import annotations

from typing import Any

from agentevol.settings.finetune import FinetuneParams
from tests.agentevol.counting import play_counting

EASY = [play_counting(number, [str(number + 1)]) for number in range(4, 12, 2)]
HARD = [play_counting(number, [str(number + 1), str(number + 2)]) for number in range(3, 12, 2)]
TRAJECTORIES = EASY + HARD

TWO_PROCESSES = "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nnum_machines: 1\nnum_processes: 2\nuse_cpu: true\n"
"""A file of `accelerate config`."""

_DEFAULTS: dict[str, Any] = {
    "learning_rate": 3e-3,
    "batch_tokens": 1024,
    "weight_decay": 0.0,
    "precision": "float32",
    "max_tokens": 512,
    "checkpoint_minutes": None,
}


def finetune_params(**changes: Any) -> FinetuneParams:
    """Settings for the small models of the tests."""
    return FinetuneParams(**(_DEFAULTS | changes))


def losses(report: dict[str, Any]) -> list[float]:
    """The losses of a report's loss curve."""
    return [loss for _, loss in report["loss"]]
