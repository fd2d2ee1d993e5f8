"""The provenance of a run: everything besides its parameters that decides its results.

Invariant: a task of a feature that is off is not part of it, because it would change the identity of earlier runs.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from agentevol.settings.schema import Params
from agentevol.training.precision import resolve_precision
from flows.datasets import Datasets
from tasks.adaptive_exploration import select_instructions
from tasks.cached_task import CachedTask
from tasks.collect import subset_instructions, subset_trajectories, validation_instructions
from tasks.datasets import add_extra, convert_answers, convert_extra, filter_by_reward, merge
from tasks.env_versions import env_versions
from tasks.evaluate import score
from tasks.gate import validate
from tasks.learn import finetune
from tasks.random_baseline import roll_out_random
from tasks.rollout import concatenate_chunks, roll_out_chunk
from tasks.verifier import predict_success

_TASKS = (
    *(subset_trajectories, subset_instructions, validation_instructions, finetune, roll_out_chunk, concatenate_chunks),
    *(filter_by_reward, merge, validate, score, roll_out_random),
)
"""The cached tasks of every run."""


def provenance_of(params: Params, datasets: Datasets) -> dict[str, Any]:
    """The datasets' content, the versions of environments and tasks, and how the model computes, as JSON values."""
    sets = {field.name: getattr(datasets, field.name) for field in fields(datasets)}
    variables = params.model.chat_template_kwargs
    return {
        **({"chat_template_kwargs": variables} if variables else {}),
        "datasets": {name: data.digest for name, data in sets.items()},
        "env_versions": env_versions(*sets.values()),
        "tasks": {task.name: task.version for task in (*_TASKS, *_optional_tasks(params))},
        "precision": resolve_precision(params.finetune.precision),  # auto differs between machines
    }


def _optional_tasks(params: Params) -> list[CachedTask]:
    """The cached tasks of features that are in use."""
    in_use = {
        add_extra: bool(params.data.extra),
        select_instructions: params.evolve.is_adaptive,
        convert_extra: bool(params.data.extra) and params.agent.format != "react",
        convert_answers: params.agent.format != "react",
        predict_success: params.filter.uses_verifier,
    }
    return [task for task, is_used in in_use.items() if is_used]
