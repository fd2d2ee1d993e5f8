"""Errors that the user can fix, and how a flow fails with one of them: with its message, without a traceback.

Invariant: nothing is imported for an error class whose module is not loaded: no such error can have been raised.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

EXPECTED_ERRORS = (
    "agentevol.settings.load.SettingsError",
    "agentevol.training.lora.PeftNotInstalled",
    "agentevol.chat.template.ChatTemplateError",
    "agentevol.preflight.check.PreflightFailed",
    "agentevol.data.experts.ExpertFailed",
    "agentevol.data.episode_reward.ProgressUnknown",
    "agentevol.training.finetune.NoTrainingData",
    "agentevol.training.finetune.OutOfMemory",
    "agentevol.gate.gate.GateFailed",
    "agentevol.training.launch.LaunchFailed",
    "agentevol.models.ModelNotFound",
    "agentevol.training.optimizer.NonFiniteLoss",
    "agentevol.data.artifact_folder.IncompleteFolder",
    "agentevol.rollout.engine.EngineError",
    "agentevol.rollout.workers.WorkerLost",
    "agentevol.rollout.reward_check.RewardMismatch",
    "tasks.artifact.IncompatibleSchema",
    "tasks.cluster.ClusterError",
    "tasks.remote_files.RemoteError",
    "tasks.rollout.RolloutFailed",
    "tasks.rollout.PolicyChanged",
    "tasks.mlflow_store.TrackingUnavailable",
)
"""Errors that the user can fix; their messages say how."""
P = ParamSpec("P")
R = TypeVar("R")


def loaded_error_classes() -> tuple[type[Exception], ...]:
    """The classes of EXPECTED_ERRORS whose module is loaded; importing torch for the others would take seconds."""
    names = (name.rpartition(".") for name in EXPECTED_ERRORS)
    return tuple(getattr(sys.modules[module], name) for module, _, name in names if module in sys.modules)


def fail_in_one_line(function: Callable[P, R]) -> Callable[P, R]:
    """For the body of a flow: an expected error is the message of the run's state, and Prefect logs no traceback.

    A caller of the flow still gets the error itself.
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if not isinstance(error, loaded_error_classes()):
                raise
            return cast(R, _failed(error))  # Prefect takes the state as the run's

    # Prefect would look up the names of types in this module.
    wrapped.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
    return wrapped


def _failed(error: Exception) -> Any:
    from prefect.states import Failed

    return Failed(message=str(error), data=error)
