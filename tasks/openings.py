"""Whether the openings of a run's episodes fit the context, as a step before anything is played or trained.

Invariant: openings are measured once for the same data and tokenizer. What could not be measured is measured again by the next run.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agentevol.preflight.check import raise_if_failed
from agentevol.settings.agent import ActionFormat
from agentevol.settings.schema import Params
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task
from tasks.env_versions import env_versions, functions_digest
from tasks.progress import say
from tasks.shared_store import evict


def check_openings(params: Params, model: Artifact, *, expert: Artifact, instructions: Artifact, chat: dict[str, Any]) -> None:
    """Check that episodes of every environment of the run can begin. Raises PreflightFailed, in one line.

    `expert`: AgentTraj in the run's action format; the openings are read from it. `instructions`: AgentEval; environments without expert
    trajectories are reset on one of them. `chat`: as in tasks.learn.finetune.
    """
    from agentevol.preflight import openings

    action_format = params.agent.format
    measured = measure_openings(
        model=model,
        expert=expert,
        instructions=instructions,
        environments=params.environments,
        action_format=action_format,
        servers={env: urls for env, urls in params.rollout.addresses().items() if not expert.counts.get(env)} or None,
        step_timeout=params.rollout.step_timeout,
        env_versions=env_versions(instructions),
        functions=None if action_format == "react" else functions_digest(instructions),
        **chat,
    )
    if measured.facts["unknown"]:
        evict(measured)  # the rollout tells the environment's error
    checks = openings.check_openings(
        {env: openings.Openings(**lengths) for env, lengths in measured.facts["openings"].items()},
        context_length=params.rollout.context_length,
        max_new_tokens=params.rollout.max_new_tokens,
        model_limit=measured.facts["model_limit"],
        action_format=action_format,
    )
    raise_if_failed(model.path, checks)
    for check in checks:
        say(f"preflight: {check.line()}")


@cached_task("openings", version="1", ignore=("step_timeout",))
def measure_openings(
    out: Path,
    *,
    model: Artifact,
    expert: Artifact,
    instructions: Artifact,
    environments: list[str],
    action_format: ActionFormat,
    step_timeout: float | None,
    env_versions: dict[str, int],
    servers: dict[str, list[str]] | None = None,
    functions: str | None = None,
    template_kwargs: dict[str, Any] | None = None,
    chat_format: str | None = None,
) -> TaskOutput:
    """Facts: the tokens of each environment's shortest and longest opening, the environments that could not be reset, the model's context.

    `env_versions`, `functions`, `chat_format`: as in tasks.rollout.roll_out_chunk. Only the key needs them.
    """
    from transformers import AutoConfig

    from agentevol.chat.load import load_chat_tokenizer
    from agentevol.data.dataset import read_instruction_list, stream_dataset
    from agentevol.models import max_context_length
    from agentevol.preflight.openings import OpeningUnknown, played_opening, recorded_openings

    chat = load_chat_tokenizer(model.folder, template_kwargs)
    openings = recorded_openings(chat, stream_dataset(expert.folder), action_format)
    unknown: dict[str, str] = {}
    first = {item.env: item for item in reversed(read_instruction_list(instructions.folder))}
    for env in environments:
        if env not in openings and env in first:
            server = next(iter((servers or {}).get(env, ())), None)
            try:
                openings[env] = played_opening(chat, first[env], action_format, server=server, step_timeout=step_timeout)
            except OpeningUnknown as error:
                unknown[env] = str(error)
    facts: dict[str, Any] = {
        "openings": {env: asdict(lengths) for env, lengths in openings.items() if env in environments},
        "unknown": unknown,
        "model_limit": max_context_length(AutoConfig.from_pretrained(model.folder, local_files_only=True)),
    }
    (out / "openings.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return TaskOutput(facts=facts)
