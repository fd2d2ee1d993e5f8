"""Tasks on trajectories: filter by reward, merge, and the gate that every training set must pass.

Invariant: no set reaches fine-tuning that has not passed the gate; a set that fails stops the flow and is named, with rows and remedy.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

from agentevol import storage
from agentevol.settings import GateParams
from agentevol.values import Merge
from envs.base import Instruction
from envs.registry import environment_class
from tasks.artifact import Artifact
from tasks.keys import Made, stored
from tasks.progress import bar, say

CHATTY = "great_expectations.data_context.types.base"  # tells of every temporary folder, at a level that it sets itself


@stored("trajectories", version="1")
def keep_by_reward(out: Path, *, explored: Artifact, cap: int | None, worlds: dict[str, str]) -> Made:
    """The successful episodes, at most `cap` per instruction; facts: how many were dropped and why, and the coverage by difficulty.

    `worlds`: the digests of the environments, whose success rule decides.
    """
    from agentevol import datasets

    chosen = datasets.RewardFilter(cap)
    kept = chosen.keep(storage.stream_dataset(explored.folder))
    made = storage.write_dataset(out / "dataset", kept, {"parents": [explored.digest], "cap": cap})
    return Made(made.digest, "dataset", made.counts, asdict(chosen.report()))


@stored("trajectories", version="1")
def merge(out: Path, *, initial: Artifact, explored: list[Artifact], how: Merge) -> Made:
    """What an iteration learns from: the expert set and the explored ones (per iteration, the oldest first), duplicates removed."""
    from agentevol import datasets

    merger = datasets.Merger(how)
    merged = merger.merge(storage.stream_dataset(initial.folder), [storage.stream_dataset(one.folder) for one in explored])
    parents = [initial.digest, *(one.digest for one in explored)]
    made = storage.write_dataset(out / "dataset", merged, {"parents": parents, "merge": how})
    return Made(made.digest, "dataset", made.counts, asdict(merger.report()))


@stored("gate", version="1")
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
    worlds: dict[str, str],
) -> Made:
    """Let a training set through the gate. Raises GateFailed, which names check, rows, reason and remedy; then nothing is stored.

    `evaluation`: all of AgentEval, also where a run plays a part of it. `expert`: the set is an expert's, so it must replay and reach all
    `environments`. `covering`: the sets whose instructions it should cover; None: all of the splits that its rows come from. `worlds`: the
    digests of the environments, which judge reward and success and replay what is recorded.
    """
    from agentevol import gate
    from agentevol.chat import Chat
    from agentevol.models import load_tokenizer

    logging.getLogger(CHATTY).addFilter(lambda record: record.levelno >= logging.WARNING)
    say(f"gate: checking {data.rows} trajectories")
    with bar("checking"):
        chat = Chat(load_tokenizer(tokenizer.folder))
        report = gate.check(
            storage.stream_dataset(data.folder),
            evaluation=_instructions(evaluation),
            limit=limit,
            token_count=lambda row: len(chat.encode(row.messages).ids if row.token_ids is None else row.token_ids),
            expert=expert,
            required_environments=environments,
            instructions=None if covering is None else _different(covering),
        )
    report.raise_if_failed()
    (out / "gate.md").write_text(report.markdown(), encoding="utf-8")
    (out / "findings.json").write_text(json.dumps([asdict(finding) for finding in report.findings], indent=1), encoding="utf-8")
    return Made(facts={"markdown": report.markdown()})


def _different(sets: list[Artifact]) -> list[Instruction]:
    return list({item.item_id: item for one in sets for item in _instructions(one)}.values())


def _instructions(data: Artifact) -> list[Instruction]:
    """Those of a list, or those that trajectories are about."""
    if data.kind == "trajectories":
        about = {row.item_id: row.env for row in storage.stream_dataset(data.folder)}
        return [environment_class(env).instruction(item_id) for item_id, env in about.items()]
    return [row for rows in storage.read_instructions(data.folder).values() for row in rows]
