"""Import of other projects' rows as trajectories.

Invariant: a trajectory keeps the name of an environment only if that environment reproduces it: the recorded answers give the recorded
observations, reward and success. Every other one is marked as text only (`env` is TEXT_ONLY): it can be learned from, it covers no
instruction, and nothing replays it. The file is read to the end before a dataset of it exists (dataset.write_dataset).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from agentevol.data.formats import FormatError, make_trajectory
from agentevol.data.schema_check import allowed_values, is_unicode, schema_error
from agentevol.data.trajectory import COLUMNS, TEXT_ONLY, Trajectory
from agentevol.exchange.format_names import FormatName
from agentevol.exchange.formats import ForeignRow, read_row
from agentevol.exchange.rows import stream_rows
from agentevol.gate.replay import replay
from envs.base import UnknownItem
from envs.registry import AGENTGYM_PREFIX, environment_class, is_registered

_FLOATS = frozenset(column.name for column in COLUMNS if column.python_type is float)


@dataclass(slots=True)
class ImportReport:
    """Counts of the rows that have been read so far.

    `replayed`: those that an environment reproduces; `text_only`: the others, by reason; `left_out`: rows that are not imported, by reason.
    `difference`: the first replay that differs from its record.
    """

    replayed: int = 0
    text_only: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    difference: str = ""


def import_rows(
    path: Path,
    name: FormatName,
    report: ImportReport,
    *,
    reward: float = 1.0,
    max_tokens: int | None = None,
    token_count: Callable[[Trajectory], int] | None = None,
) -> Iterator[Trajectory]:
    """The trajectories of a file, in order; `report` counts them.

    reward: for rows without one, which count as demonstrations. max_tokens, token_count: longer trajectories are left out.
    Raises FormatError, which names the file, the row, the field, and what is allowed.
    """
    samples = Counter[str]()
    for number, row in enumerate(stream_rows(path), 1):
        try:
            foreign = read_row(row, name)
            trajectory = _trajectory(foreign, name, number, reward)
            _check(trajectory)
        except FormatError as error:
            raise FormatError(f"{path}: row {number}: {error}") from None
        if not any(message.loss for message in trajectory.messages):
            report.left_out["no answer to learn from"] += 1
            continue
        trajectory = _marked(trajectory, foreign, name, number, report)
        if "sample" not in foreign.fields:
            trajectory = replace(trajectory, sample=samples[trajectory.item_id])
            samples[trajectory.item_id] += 1
        if max_tokens is not None and token_count is not None and token_count(trajectory) > max_tokens:
            report.left_out[f"more than {max_tokens} tokens"] += 1
            continue
        yield trajectory


def _trajectory(foreign: ForeignRow, name: FormatName, number: int, reward: float) -> Trajectory:
    fields = dict(foreign.fields)
    for field_name, value in fields.items():
        if (allowed := allowed_values(field_name, value)) is not None:
            raise FormatError(f"{field_name}: {_short(value)} given; allowed: {allowed}")
        if field_name in _FLOATS and value is not None:
            fields[field_name] = float(value)
    item_id = fields.pop("item_id", None) or f"{name}/{foreign.own_id or number}"
    success, stated = fields.pop("success", None), fields.pop("reward", None)
    if stated is None:
        stated = 0.0 if success is False else reward  # a failure is no demonstration
    return make_trajectory(fields, item_id, foreign.messages, float(stated), success)


def _short(value: object) -> str:
    try:
        return repr(value)[:80]
    except ValueError:  # an integer of thousands of digits
        return "a very large number"


def _check(trajectory: Trajectory) -> None:
    if error := schema_error(trajectory):
        raise FormatError(error)
    for text in (trajectory.item_id, *(message.content for message in trajectory.messages)):
        if not is_unicode(text):
            raise FormatError("a text contains half of a surrogate pair (such as \\ud83d); allowed: text that UTF-8 can encode")


def _marked(trajectory: Trajectory, foreign: ForeignRow, name: FormatName, number: int, report: ImportReport) -> Trajectory:
    """The trajectory as it is if its environment reproduces it, else as text only, without the token ids of an unknown tokenizer."""
    reason = "they name no instruction of an environment"
    if "item_id" in foreign.fields and trajectory.env != TEXT_ONLY:
        reason = _reason_not_to_replay(trajectory, report)
        if not reason:
            report.replayed += 1
            return trajectory
    report.text_only[reason] += 1
    if trajectory.env == TEXT_ONLY and "item_id" in foreign.fields:
        return trajectory
    item_id = f"{name}/{foreign.own_id or number}"
    return replace(trajectory, env=TEXT_ONLY, task_type=name, item_id=item_id, token_ids=None, loss_mask=None)


def _reason_not_to_replay(trajectory: Trajectory, report: ImportReport) -> str:
    name = trajectory.env
    if not is_registered(name):
        return f"there is no environment {name!r} here"
    if name.startswith(AGENTGYM_PREFIX):
        return f"{name} is played on a server only"
    cls = environment_class(name)
    if missing := cls.missing():
        return f"{name} does not run here ({missing})"
    try:
        cls.instruction(trajectory.item_id)
    except UnknownItem:
        return f"{name} has no such instruction"
    if trajectory.status == "error":
        return ""  # its record ends where something broke; the gate refuses it, whatever a replay says
    difference = replay(trajectory)
    if difference is None:
        return ""
    report.difference = report.difference or f"{trajectory.item_id}, {difference}"
    return f"{name} does not reproduce the record"
