"""The table-shaped checks of the gate: one line per trajectory, one Great Expectations expectation per check.

Invariant: whatever needs the environments is computed into a column first, so that every judgement is an expectation on a column and
every failure names its rows. The table holds what is judged (counts, ids, digests), never the texts.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from math import isfinite
from typing import Any

from agentevol.data.trajectory import Message, Trajectory
from agentevol.gate.finding import Finding
from envs.base import Instruction, UnknownItem
from envs.registry import ENVIRONMENTS, environment_class, make

_TYPES: dict[str, tuple[type, ...]] = {
    "item_id": (str,), "env": (str,), "task_type": (str,), "split": (str,), "policy": (str,), "policy_hash": (str,), "iteration": (int,),
    "sample": (int,), "messages": (list,), "reward": (int, float), "success": (bool,), "rounds": (int,), "status": (str,),
    "error": (str, type(None)), "tokens": (int,), "seconds": (int, float), "token_ids": (list, type(None)), "loss_mask": (list, type(None)),
}  # fmt: skip
_COLUMNS = [
    "row", "wrong", "item_id", "env", "unknown", "status", "roles", "learnt", "reward", "lowest", "highest", "success", "by_rule", "text",
    "opening_of", "key", "length",
]  # fmt: skip
_LETTERS = {"user": "u", "assistant": "a"}

_HELD_OUT = "remove these rows: AgentEval must stay unseen; the lineage in the set's manifest.json tells which step put them in"
_AGAIN = "record the episode again: a reward is the sum of the step rewards"

_MEANING = {
    "schema": (
        "a field is not what the schema says",
        "write the set with agentevol.storage.write_dataset, or import it with agentevol.formats",
    ),
    "environment": ("there is no such environment", "use one that is registered in envs/registry.py"),
    "instruction": ("the environment has no such instruction", "take the ids from the environment's own instructions(split)"),
    "status": ("a fault ended the episode", "drop it: agentevol.datasets.filter_by_reward does"),
    "roles": (
        "the messages do not alternate user, assistant, user ...",
        "merge neighbouring messages of one role, or record the episode again",
    ),
    "loss": ("no message has loss true, so there is nothing to learn", "set loss on the policy's own answers"),
    "reward, lowest": ("the reward is below the environment's range", _AGAIN),
    "reward, highest": ("the reward is above the environment's range", _AGAIN),
    "success": ("success does not agree with the environment's rule on the reward", "set it by environment_class(env).succeeded(reward)"),
    "evaluation by id": ("the instruction belongs to AgentEval", _HELD_OUT),
    "evaluation by text": ("the instruction reads like one of AgentEval", _HELD_OUT),
    "evaluation by opening": ("the first message opens an episode of AgentEval under another id", _HELD_OUT),
    "duplicates": (
        "the same instruction is answered word for word the same more than once",
        "agentevol.data.filtering.merge removes duplicates",
    ),
    "length": ("there are more tokens than gate.max_tokens", "drop it, or raise gate.max_tokens where the model's context allows"),
}
"""Per check: what a failure means, and what to do about it."""


def table_findings(
    trajectories: Iterable[Trajectory],
    evaluation: Sequence[Instruction],
    max_tokens: int,
    token_count: Callable[[Trajectory], int] | None,
) -> tuple[dict[str, int], list[Finding]]:
    """The checks made, by name with the number of rows that fail each, and a finding for each that fails."""
    table: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    openings = _Openings(evaluation)
    for trajectory in trajectories:
        line = _line(trajectory, openings, token_count)
        for name, column in table.items():
            column.append(line.get(name))
    if not table["row"]:
        remedy = "look at the filter's report: no episode succeeded; explore with more samples, or learn longer first"
        return {"rows": 1}, [Finding("rows", [], 1, "the set is empty", remedy)]
    failed = _validate(table, _expectations(evaluation, max_tokens))
    if token_count is None:
        del failed["length"]
    findings = [Finding(check, rows, len(rows), *_MEANING[check]) for check, rows in failed.items() if rows]
    if failed["schema"]:
        example = next(wrong for wrong in table["wrong"] if wrong)
        findings[0] = replace(findings[0], what=f"{findings[0].what}: {example}")
    return {check: len(rows) for check, rows in failed.items()}, findings


def _expectations(evaluation: Sequence[Instruction], max_tokens: int) -> dict[str, Any]:
    """The expectation of each check. Great Expectations passes over the rows where a column is empty."""
    import great_expectations.expectations as gxe

    def at_least(a: str, b: str) -> Any:
        return gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A=a, column_B=b, or_equal=True, ignore_row_if="either_value_is_missing")

    return {
        "schema": gxe.ExpectColumnValuesToBeNull(column="wrong"),
        "environment": gxe.ExpectColumnValuesToBeInSet(column="env", value_set=sorted(ENVIRONMENTS)),
        "instruction": gxe.ExpectColumnValuesToBeNull(column="unknown"),
        "status": gxe.ExpectColumnValuesToBeInSet(column="status", value_set=["finished", "truncated"]),
        "roles": gxe.ExpectColumnValuesToMatchRegex(column="roles", regex=r"^(?:ua)+u?$"),
        "loss": gxe.ExpectColumnValuesToBeBetween(column="learnt", min_value=1),
        "reward, lowest": at_least("reward", "lowest"),
        "reward, highest": at_least("highest", "reward"),
        "success": gxe.ExpectColumnPairValuesToBeEqual(column_A="success", column_B="by_rule", ignore_row_if="either_value_is_missing"),
        "evaluation by id": gxe.ExpectColumnValuesToNotBeInSet(column="item_id", value_set=[item.item_id for item in evaluation] or [""]),
        "evaluation by text": gxe.ExpectColumnValuesToNotBeInSet(
            column="text", value_set=sorted({item.text for item in evaluation}) or [""]
        ),
        "evaluation by opening": gxe.ExpectColumnValuesToBeNull(column="opening_of"),
        "duplicates": gxe.ExpectColumnValuesToBeUnique(column="key"),
        "length": gxe.ExpectColumnValuesToBeBetween(column="length", max_value=max_tokens),
    }


def _validate(table: dict[str, list[Any]], expectations: dict[str, Any]) -> dict[str, list[str]]:
    """Run the expectations over the columns: per check, the labels of the rows that fail it."""
    import great_expectations as gx
    import pandas as pd

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    definition = context.data_sources.add_pandas("gate").add_dataframe_asset("trajectories").add_batch_definition_whole_dataframe("all")
    # object columns throughout: pandas 3 would make text and None its own types, column by column, and whole rewards integers
    batch = definition.get_batch({"dataframe": pd.DataFrame(table, dtype=object)})
    for check, expectation in expectations.items():
        expectation.meta = {"check": check}
    suite = gx.ExpectationSuite("gate", expectations=list(expectations.values()))
    outcome = batch.validate(suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["row"]})
    failed: dict[str, list[str]] = {check: [] for check in expectations}
    for result in outcome.results:
        if not result.success:
            check = result.expectation_config.meta["check"]
            if "unexpected_index_list" not in result.result:
                raise RuntimeError(f"Great Expectations could not make the check {check!r}: {result.exception_info}")
            failed[check] = [entry["row"] for entry in result.result["unexpected_index_list"]]
    return failed


def _line(trajectory: Trajectory, openings: _Openings, token_count: Callable[[Trajectory], int] | None) -> dict[str, Any]:
    """A trajectory as the expectations see it; a column is left out where it has nothing to say."""
    wrong = _wrong(trajectory)
    if wrong is not None:
        return {"row": _label(trajectory), "wrong": wrong}
    messages = trajectory.messages
    line: dict[str, Any] = {
        "row": _label(trajectory),
        "item_id": trajectory.item_id,
        "env": trajectory.env,
        "status": trajectory.status,
        "roles": sys.intern("".join(_LETTERS.get(message.role, "?") for message in messages)),
        "learnt": sum(message.role == "assistant" and message.loss is True for message in messages),
        "reward": float(trajectory.reward),
        "success": trajectory.success,
        "opening_of": openings.told_by(trajectory),
        "key": trajectory.text_key(),
        "length": token_count(trajectory) if token_count else None,
    }
    if trajectory.env in ENVIRONMENTS:
        cls = environment_class(trajectory.env)
        line |= {"lowest": cls.lowest_reward, "highest": cls.highest_reward, "by_rule": cls.succeeded(trajectory.reward)}
        try:
            line["text"] = cls.instruction(trajectory.item_id).text
        except UnknownItem:
            line["unknown"] = trajectory.item_id
    return line


class _Openings:
    """The first observation of every held-out instruction, by environment as they are asked for.

    Instruction.text alone would not do: TextCraft's "craft 1 oak fence" stands in the recipes of many training instructions.
    """

    def __init__(self, evaluation: Sequence[Instruction]) -> None:
        self.evaluation = evaluation
        self._of: dict[str, dict[str, str]] = {}
        self._known: dict[tuple[str, bytes], str | None] = {}

    def told_by(self, trajectory: Trajectory) -> str | None:
        """The first instruction, other than its own, whose opening stands in the first message. Equal beginnings are looked at once."""
        first = trajectory.messages[0].content if trajectory.messages else ""
        key = (trajectory.item_id, sha256(f"{trajectory.env}\n{first}".encode()).digest())
        if key not in self._known:
            held_out = self._openings(trajectory.env).items()
            self._known[key] = next((item_id for item_id, opening in held_out if item_id != trajectory.item_id and opening in first), None)
        return self._known[key]

    def _openings(self, name: str) -> dict[str, str]:
        if name not in self._of and name in ENVIRONMENTS:
            with make(name) as env:
                held_out = [item.item_id for item in self.evaluation if item.env == name]
                self._of[name] = {item_id: env.reset(options={"item_id": item_id})[0] for item_id in held_out}
        return self._of.get(name, {})


def _label(trajectory: Trajectory) -> str:
    """How a message names a row."""
    if trajectory.policy == "expert":
        return str(trajectory.item_id)
    return f"{trajectory.item_id} (iteration {trajectory.iteration}, sample {trajectory.sample})"


def _wrong(trajectory: Trajectory) -> str | None:
    """The first field that breaks the schema, or None."""
    for name, types in _TYPES.items():
        value = getattr(trajectory, name)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            return f"{name} is {value!r}"
    if not isfinite(trajectory.reward):
        return f"reward is {trajectory.reward!r}"
    for message in trajectory.messages:
        if not isinstance(message, Message) or not isinstance(message.content, str):
            return f"message {asdict(message) if isinstance(message, Message) else message!r}"
    ids, mask = trajectory.token_ids, trajectory.loss_mask
    if (ids is None) != (mask is None) or (ids is not None and mask is not None and len(ids) != len(mask)):
        return "token_ids and loss_mask do not have the same length"
    return None
