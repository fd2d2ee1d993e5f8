"""The gate as a task: no training set reaches fine-tuning without passing it."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

from agentevol.data.dataset import read_instruction_list, stream_dataset
from agentevol.settings.schema import GateParams
from envs.base import Instruction
from envs.registry import environment_class
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task
from tasks.progress import bar, say

CHATTY = "great_expectations.data_context.types.base"  # tells of every temporary folder, at a level that it sets itself


@cached_task("gate", version="1")
def validate(
    out: Path,
    *,
    data: Artifact,
    evaluation: Artifact,
    limit: GateParams,
    tokenizer: Artifact,
    expert: bool,
    environments: list[str],
    covering: list[Artifact] | None,
    env_versions: dict[str, int],
) -> TaskOutput:
    """Let a training set through the gate. Raises GateFailed, which names check, rows, reason and remedy; then nothing is stored.

    `evaluation`: all of AgentEval, also where a run plays a part of it. `expert`: the set is an expert's, so it must replay and reach all
    `environments`. `covering`: the sets whose instructions it should cover; None: all of the splits that its rows come from.
    `env_versions`: the versions of the environments, which judge reward and success and replay what is recorded.
    """
    from agentevol.chat.tokenize import ChatTokenizer
    from agentevol.gate import gate
    from agentevol.models import load_tokenizer

    logging.getLogger(CHATTY).addFilter(lambda record: record.levelno >= logging.WARNING)
    say(f"gate: checking {data.rows} trajectories")
    with bar("checking"):
        chat = ChatTokenizer(load_tokenizer(tokenizer.folder))
        report = gate.check_dataset(
            stream_dataset(data.folder),
            evaluation=_instructions(evaluation),
            settings=limit,
            token_count=lambda row: len(chat.tokenize_conversation(row.messages).token_ids if row.token_ids is None else row.token_ids),
            expert=expert,
            required_environments=environments,
            instructions=None if covering is None else _different(covering),
        )
    report.raise_if_failed()
    (out / "gate.md").write_text(report.markdown(), encoding="utf-8")
    (out / "findings.json").write_text(json.dumps([asdict(finding) for finding in report.findings], indent=1), encoding="utf-8")
    return TaskOutput(facts={"markdown": report.markdown()})


def _different(sets: list[Artifact]) -> list[Instruction]:
    return list({item.item_id: item for one in sets for item in _instructions(one)}.values())


def _instructions(data: Artifact) -> list[Instruction]:
    """Those of a list, or those that trajectories are about."""
    if data.kind == "trajectories":
        about = {row.item_id: row.env for row in stream_dataset(data.folder)}
        return [environment_class(env).instruction(item_id) for item_id, env in about.items()]
    return read_instruction_list(data.folder)
