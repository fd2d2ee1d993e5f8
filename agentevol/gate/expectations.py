"""The gate's checks on single rows: one table row per trajectory, one Great Expectations expectation per check.

Invariant: whatever needs the environments is computed into a column first, so every check is an expectation on columns and every failure
names its rows. The table holds what the checks compare (counts, ids, digests), never the texts.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from agentevol.data.schema_check import schema_error
from agentevol.data.trajectory import TEXT_ONLY, Trajectory
from agentevol.gate.finding import Finding
from envs.base import Instruction, UnknownItem
from envs.factory import make
from envs.registry import environment_class, is_registered, registered_environments

_TABLE_COLUMNS = [
    "row", "schema_error", "item_id", "env", "unknown_item_id", "status", "roles", "trained_messages", "reward", "min_reward", "max_reward",
    "success", "expected_success", "progress_error", "instruction", "held_out_item_id", "text_key", "num_tokens",
]  # fmt: skip
_ROLE_LETTERS = {"user": "u", "assistant": "a"}

_REMOVE_HELD_OUT = (
    "remove these rows: no training set may hold instructions of AgentEval; `lineage` in manifest.json names the step that added them"
)
_REMOVE_VALIDATION = (
    "remove these rows: no training set may hold instructions that choose among the policies; `lineage` in manifest.json names the step"
    " that added them"
)
_RECORD_AGAIN = "record the episode again: a reward is the sum of the step rewards"

_PROBLEMS = {
    "schema": (
        "a field does not fit the schema",
        "write the set with agentevol.data.dataset.write_dataset, or import it with `agentevol data import`",
    ),
    "environment": (
        "there is no such environment",
        "use one that is registered in envs/registry.py, or import the rows as text only: `agentevol data import`",
    ),
    "instruction": ("the environment has no such instruction", "take the ids from the environment's own instructions(split)"),
    "status": ("an error ended the episode", "drop it: agentevol.data.filtering.filter_by_reward does"),
    "roles": (
        "the messages do not alternate user, assistant, user ...",
        "merge consecutive messages of one role, or record the episode again",
    ),
    "loss": ("no message has loss true, so there is nothing to learn", "set loss on the policy's own answers"),
    "reward, lowest": ("the reward is below the environment's range", _RECORD_AGAIN),
    "reward, highest": ("the reward is above the environment's range", _RECORD_AGAIN),
    "success": ("success does not agree with the environment's rule on the reward", "set it by environment_class(env).succeeded(reward)"),
    "progress": ("the progress is not from 0 to 1, or does not agree with success", "record the episode again: 1 means success"),
    "evaluation by id": ("the instruction belongs to AgentEval", _REMOVE_HELD_OUT),
    "evaluation by text": ("the instruction has the same text as one of AgentEval", _REMOVE_HELD_OUT),
    "evaluation by opening": ("the first message opens an episode of AgentEval under another id", _REMOVE_HELD_OUT),
    "validation by id": ("the instruction belongs to the validation split", _REMOVE_VALIDATION),
    "validation by text": ("the instruction has the same text as one of the validation split", _REMOVE_VALIDATION),
    "duplicates": (
        "the same instruction has the same answers more than once",
        "agentevol.data.merging.merge removes duplicates",
    ),
    "length": ("there are more tokens than gate.max_tokens", "drop it, or raise gate.max_tokens if the model's context allows it"),
}
"""Per check: the problem that a failure shows, and what to do about it."""


def table_findings(
    trajectories: Iterable[Trajectory],
    evaluation: Sequence[Instruction],
    max_tokens: int,
    token_count: Callable[[Trajectory], int] | None,
    validation: Sequence[Instruction] = (),
) -> tuple[dict[str, int], list[Finding]]:
    """The number of rows that fail each check, by its name, and a finding for each check that fails.

    `token_count`: the number of tokens of a trajectory; without it, no length is checked.
    """
    table: dict[str, list[Any]] = {name: [] for name in _TABLE_COLUMNS}
    held_out = _HeldOutOpenings(evaluation)
    has_progress = False
    for trajectory in trajectories:
        has_progress = has_progress or trajectory.progress is not None
        row = _table_row(trajectory, held_out, token_count)
        for name, values in table.items():
            values.append(row.get(name))
    if not table["row"]:
        remedy = "look at the filter's report: no episode succeeded; explore with more samples, or train longer first"
        return {"rows": 1}, [Finding("rows", [], 1, "the set is empty", remedy)]
    failed = _validate(table, _expectations(evaluation, max_tokens) | _validation_expectations(validation))
    if token_count is None:
        del failed["length"]
    if not has_progress:
        del failed["progress"]
    findings = [Finding(check, rows, len(rows), *_PROBLEMS[check]) for check, rows in failed.items() if rows]
    if failed["schema"]:
        example = next(error for error in table["schema_error"] if error)
        findings[0] = replace(findings[0], problem=f"{findings[0].problem}: {example}")
    return {check: len(rows) for check, rows in failed.items()}, findings


def _expectations(evaluation: Sequence[Instruction], max_tokens: int) -> dict[str, Any]:
    """The expectation of each check. Great Expectations skips the rows in which a column is empty."""
    import great_expectations.expectations as gxe

    def at_least(a: str, b: str) -> Any:
        return gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A=a, column_B=b, or_equal=True, ignore_row_if="either_value_is_missing")

    return {
        "schema": gxe.ExpectColumnValuesToBeNull(column="schema_error"),
        "environment": gxe.ExpectColumnValuesToBeInSet(column="env", value_set=[*registered_environments(), TEXT_ONLY]),
        "instruction": gxe.ExpectColumnValuesToBeNull(column="unknown_item_id"),
        "status": gxe.ExpectColumnValuesToBeInSet(column="status", value_set=["finished", "truncated"]),
        "roles": gxe.ExpectColumnValuesToMatchRegex(column="roles", regex=r"^(?:ua)+u?$"),
        "loss": gxe.ExpectColumnValuesToBeBetween(column="trained_messages", min_value=1),
        "reward, lowest": at_least("reward", "min_reward"),
        "reward, highest": at_least("max_reward", "reward"),
        "success": gxe.ExpectColumnPairValuesToBeEqual(
            column_A="success", column_B="expected_success", ignore_row_if="either_value_is_missing"
        ),
        "progress": gxe.ExpectColumnValuesToBeNull(column="progress_error"),
        "evaluation by id": gxe.ExpectColumnValuesToNotBeInSet(column="item_id", value_set=[item.item_id for item in evaluation] or [""]),
        "evaluation by text": gxe.ExpectColumnValuesToNotBeInSet(
            column="instruction", value_set=sorted({item.text for item in evaluation}) or [""]
        ),
        "evaluation by opening": gxe.ExpectColumnValuesToBeNull(column="held_out_item_id"),
        "duplicates": gxe.ExpectColumnValuesToBeUnique(column="text_key"),
        "length": gxe.ExpectColumnValuesToBeBetween(column="num_tokens", max_value=max_tokens),
    }


def _validation_expectations(validation: Sequence[Instruction]) -> dict[str, Any]:
    """By id and by text only: the mazes of two instructions may have the same first observation."""
    import great_expectations.expectations as gxe

    if not validation:
        return {}
    return {
        "validation by id": gxe.ExpectColumnValuesToNotBeInSet(column="item_id", value_set=[item.item_id for item in validation]),
        "validation by text": gxe.ExpectColumnValuesToNotBeInSet(
            column="instruction", value_set=sorted({item.text for item in validation})
        ),
    }


def _validate(table: dict[str, list[Any]], expectations: dict[str, Any]) -> dict[str, list[str]]:
    """Run the expectations over the columns: per check, the labels of the rows that fail it."""
    import great_expectations as gx
    import pandas as pd

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    definition = context.data_sources.add_pandas("gate").add_dataframe_asset("trajectories").add_batch_definition_whole_dataframe("all")
    # Object columns throughout: pandas 3 would give text and None types of its own, column by column, and make whole rewards integers.
    batch = definition.get_batch({"dataframe": pd.DataFrame(table, dtype=object)})
    for check, expectation in expectations.items():
        expectation.meta = {"check": check}
    # Only whether each one holds; then the rows of those that do not. Most sets pass, and this takes half of the time.
    not_passed = [result.expectation_config.meta["check"] for result in _run(batch, expectations, "BOOLEAN_ONLY") if not result.success]
    failed: dict[str, list[str]] = {check: [] for check in expectations}
    with_rows = {"result_format": "COMPLETE", "unexpected_index_column_names": ["row"]}
    for result in _run(batch, {check: expectations[check] for check in not_passed}, with_rows):
        check = result.expectation_config.meta["check"]
        if "unexpected_index_list" not in result.result:
            raise RuntimeError(f"Great Expectations could not run the check {check!r}: {result.exception_info}")
        failed[check] = [entry["row"] for entry in result.result["unexpected_index_list"]]
    return failed


def _run(batch: Any, expectations: dict[str, Any], result_format: str | dict[str, Any]) -> list[Any]:
    import great_expectations as gx

    if not expectations:
        return []
    suite = gx.ExpectationSuite("gate", expectations=list(expectations.values()))
    return list(batch.validate(suite, result_format=result_format).results)


def _table_row(trajectory: Trajectory, held_out: _HeldOutOpenings, token_count: Callable[[Trajectory], int] | None) -> dict[str, Any]:
    """The columns of a trajectory; a column that does not apply to it is left out."""
    error = schema_error(trajectory)
    if error is not None:
        return {"row": _label(trajectory), "schema_error": error}
    messages = trajectory.messages
    row: dict[str, Any] = {
        "row": _label(trajectory),
        "item_id": trajectory.item_id,
        "env": trajectory.env,
        "status": trajectory.status,
        "roles": sys.intern("".join(_ROLE_LETTERS.get(message.role, "?") for message in messages)),
        "trained_messages": sum(message.role == "assistant" and message.loss is True for message in messages),
        "reward": float(trajectory.reward),
        "success": trajectory.success,
        "progress_error": None if _has_valid_progress(trajectory) else str(trajectory.progress),
        "held_out_item_id": held_out.find(trajectory),
        "text_key": trajectory.text_key(),
        "num_tokens": token_count(trajectory) if token_count else None,
    }
    if is_registered(trajectory.env):
        cls = environment_class(trajectory.env)
        row |= {"min_reward": cls.lowest_reward, "max_reward": cls.highest_reward, "expected_success": cls.succeeded(trajectory.reward)}
        try:
            row["instruction"] = cls.instruction(trajectory.item_id).text
        except UnknownItem:
            row["unknown_item_id"] = trajectory.item_id
    return row


def _has_valid_progress(trajectory: Trajectory) -> bool:
    progress = trajectory.progress
    return progress is None or (0 <= progress <= 1 and (progress == 1) == trajectory.success)


class _HeldOutOpenings:
    """The first observation of every held-out instruction; those of an environment are computed when its first trajectory comes.

    Instruction.text alone is not enough: TextCraft's "craft 1 oak fence" also occurs in the recipes of many training instructions.
    """

    def __init__(self, evaluation: Sequence[Instruction]) -> None:
        self.evaluation = evaluation
        self._by_env: dict[str, dict[str, str]] = {}
        self._matches: dict[tuple[str, bytes], str | None] = {}

    def find(self, trajectory: Trajectory) -> str | None:
        """The first held-out instruction, other than the trajectory's own, whose opening is in its first message.

        A trajectory that is text only may come from any environment. The result is kept per instruction and first message, which the
        samples of an instruction share.
        """
        first = trajectory.messages[0].content if trajectory.messages else ""
        key = (trajectory.item_id, sha256(f"{trajectory.env}\n{first}".encode()).digest())
        if key not in self._matches:
            names = sorted({item.env for item in self.evaluation}) if trajectory.env == TEXT_ONLY else [trajectory.env]
            openings = (entry for name in names for entry in self._openings(name).items())
            self._matches[key] = next((item_id for item_id, text in openings if item_id != trajectory.item_id and text in first), None)
        return self._matches[key]

    def _openings(self, name: str) -> dict[str, str]:
        if name not in self._by_env and is_registered(name):
            with make(name) as env:
                held_out = [item.item_id for item in self.evaluation if item.env == name]
                self._by_env[name] = {item_id: env.reset(options={"item_id": item_id})[0] for item_id in held_out}
        return self._by_env.get(name, {})


def _label(trajectory: Trajectory) -> str:
    """The name of a row in messages."""
    if trajectory.policy == "expert":
        return str(trajectory.item_id)
    return f"{trajectory.item_id} (iteration {trajectory.iteration}, sample {trajectory.sample})"
