"""The gate as a task: no training set reaches fine-tuning without passing it.

Invariant: a set that fails raises GateFailed and stores nothing.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from agentevol.data.dataset import read_instruction_list, stream_dataset
from agentevol.data.trajectory import TEXT_ONLY
from agentevol.settings.gate import GateParams
from envs.base import Instruction, Split
from envs.registry import environment_class
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task
from tasks.progress import progress_bar, say

NOISY_LOGGER = "great_expectations.data_context.types.base"  # logs every temporary folder, and sets its own level


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
    coverage_sets: list[Artifact] | None,
    env_versions: dict[str, int],
    template_kwargs: dict[str, Any] | None = None,
    chat_format: str | None = None,
    validation: Artifact | None = None,
    expert_limits: dict[str, int] | None = None,
    allow_duplicates: bool = False,
) -> TaskOutput:
    """Check a training set. Raises GateFailed, which names the check, the rows, the reason and the remedy; then nothing is stored.

    `evaluation`: all of AgentEval, even if the run evaluates on a part of it. `validation`: the validation split, which must not be
    trained on either; None if the run has none. `expert`: expert trajectories, which must replay and must
    contain all `environments`. `coverage_sets`: the datasets whose instructions the set should cover; None: all instructions of the splits
    that its rows come from. `expert_limits`: splits of which the set should cover the first instructions of `environments`, with their
    number. `allow_duplicates`: do not check for duplicates. `env_versions`: the versions of the environments, which define reward, success
    and replay. `template_kwargs`, `chat_format`: as in tasks.learn.finetune.
    """
    from agentevol.chat.load import load_chat_tokenizer
    from agentevol.gate import gate

    logging.getLogger(NOISY_LOGGER).addFilter(lambda record: record.levelno >= logging.WARNING)
    say(f"gate: checking {data.rows} trajectories")
    with progress_bar("checking"):
        chat = load_chat_tokenizer(tokenizer.folder, template_kwargs)
        report = gate.check_dataset(
            stream_dataset(data.folder),
            evaluation=_instructions(evaluation),
            validation=_instructions(validation) if validation else (),
            settings=limit,
            token_count=lambda row: len(chat.tokenize_trajectory(row).token_ids),
            expert=expert,
            required_environments=environments,
            instructions=None if coverage_sets is None else _distinct_instructions(coverage_sets, expert_limits or {}, environments),
            allow_duplicates=allow_duplicates,
        )
    report.raise_if_failed()
    (out / "gate.md").write_text(report.markdown(), encoding="utf-8")
    (out / "findings.json").write_text(json.dumps([asdict(finding) for finding in report.findings], indent=1), encoding="utf-8")
    return TaskOutput(facts={"markdown": report.markdown()})


def _distinct_instructions(datasets: list[Artifact], expert_limits: dict[str, int], environments: list[str]) -> list[Instruction]:
    """Those of the datasets, and the first ones of the splits, which the environments know: a set says nothing about what it lacks."""
    listed = [item for dataset in datasets for item in _instructions(dataset)]
    for split, limit in expert_limits.items():
        listed += [item for env in environments for item in environment_class(env).instructions(cast(Split, split))[:limit]]
    return list({item.item_id: item for item in listed}.values())


def _instructions(data: Artifact) -> list[Instruction]:
    """The instructions of a list, or those of a dataset of trajectories; text only has none."""
    if data.kind == "trajectories":
        env_of_item = {row.item_id: row.env for row in stream_dataset(data.folder) if row.env != TEXT_ONLY}
        return [environment_class(env).instruction(item_id) for item_id, env in env_of_item.items()]
    return read_instruction_list(data.folder)
