"""The row formats of other projects: reading a row, and writing a trajectory as a row.

Each format is a pair of functions in FORMATS; adding one is a line there. The field names are those of the projects' own files and code
(checked November 2026):

- agentgym: AgentGym's AgentTraj, `conversations` with `from`, `value`, `loss`, and `item_id`.
- agentinstruct: AgentTuning's AgentInstruct (arXiv 2310.12823), the same conversations with `id`.
- messages: rows of TRL's conversational format, `messages` with `role` and `content`.
- toolcalls: TRL's rows with tools, `messages` with `tool_calls` and results of the role `tool`, and `tools`.
- xlam: rows of xlam-function-calling-60k (`id`, `query`, `tools`, `answers`, the last two as JSON text), and the unified trajectories of
  ActionStudio, AgentOhana's successor (`unique_trajectory_id`, `task_instruction`, `tools`, `conversation`). Written in the second form,
  because the first has one answer only.

Invariant: a trajectory that is written and read again is equal to itself, and a foreign row that is read and written again keeps its
conversation. Keys that only this project needs are extra keys, which others ignore.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentevol.data.formats import FormatError, to_agentgym
from agentevol.data.trajectory import COLUMNS, MEASURES, TEXT_ONLY, Message, Trajectory
from agentevol.exchange.chat_messages import field_error, parse_json, read_calls, read_conversation, read_tools, write_messages
from agentevol.exchange.format_names import FormatName
from agentevol.exchange.rows import Row
from agentevol.exchange.tool_text import Conversation, Turn, from_text, to_text

_EXTRA_KEY = "agentevol"
_FIELDS = frozenset(column.name for column in COLUMNS) - {"messages"} | set(MEASURES)


@dataclass(frozen=True, slots=True)
class ForeignRow:
    """The content of a row. `own_id`: its id in the other project; `fields`: the fields of a trajectory that it states."""

    messages: list[Message]
    own_id: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def read_row(row: Row, name: FormatName) -> ForeignRow:
    """The content of a row of this format. Raises FormatError, which names the field, what was given and what is allowed."""
    return FORMATS[name][0](row)


def write_row(trajectory: Trajectory, name: FormatName) -> Row:
    """A trajectory as a row of this format."""
    return FORMATS[name][1](trajectory)


def _read_agentgym(row: Row) -> ForeignRow:
    fields = _extra(row) | {name: row[name] for name in ("reward", "success") if row.get(name) is not None}
    if isinstance(fields.get("success"), int):
        fields["success"] = bool(fields["success"])  # AgentGym writes 0 and 1
    item_id = row.get("item_id")
    if not isinstance(item_id, str) or not item_id:
        raise field_error("item_id", item_id, "text")
    return ForeignRow(_read_turns(row), item_id, {**fields, "item_id": item_id})


def _read_agentinstruct(row: Row) -> ForeignRow:
    return ForeignRow(_read_turns(row), _own_id(row, "id"), _extra(row))


def _read_turns(row: Row) -> list[Message]:
    turns = row.get("conversations")
    if not isinstance(turns, list) or not turns:
        raise field_error("conversations", turns, "a list of turns that is not empty")
    messages: list[Message] = []
    for index, turn in enumerate(turns):
        where = f"conversations.{index}"
        speaker, value, loss = (turn.get(key) for key in ("from", "value", "loss")) if isinstance(turn, dict) else (turn, "", None)
        if speaker not in ("human", "gpt"):
            raise field_error(f"{where}.from", speaker, "human, gpt")
        if (speaker == "gpt") != bool(index % 2):
            raise field_error(f"{where}.from", speaker, "human and gpt in turn, beginning with human")
        if not isinstance(value, str):
            raise field_error(f"{where}.value", value, "text")
        if loss is not None and (not isinstance(loss, bool) or (speaker == "human" and loss)):
            raise field_error(f"{where}.loss", loss, "true, false or null" if speaker == "gpt" else "false or null")
        messages.append(Message("assistant", value, loss is not False) if speaker == "gpt" else Message("user", value))
    return messages


def _write_agentinstruct(trajectory: Trajectory) -> Row:
    conversations = to_agentgym(trajectory)["conversations"]
    return {"conversations": conversations, "id": _id_in(trajectory, "agentinstruct"), _EXTRA_KEY: _fields(trajectory)}


def _read_messages(row: Row) -> ForeignRow:
    conversation = read_conversation(row.get("messages"), loss=row.get("loss"))
    if any(turn.calls or turn.role == "tool" for turn in conversation.turns) or read_tools(row.get("tools")):
        raise FormatError("messages: tool calls given; allowed: texts only, or `--as toolcalls`")
    return ForeignRow(to_text(conversation, with_calls=False), _own_id(row, "id"), _top_level(row))


def _write_messages(trajectory: Trajectory) -> Row:
    messages, loss = write_messages(from_text(trajectory.messages, with_calls=False))
    return {"messages": messages, "loss": loss, **_fields(trajectory)}


def _read_toolcalls(row: Row) -> ForeignRow:
    conversation = read_conversation(row.get("messages"), row.get("tools"), loss=row.get("loss"))
    return ForeignRow(to_text(conversation), _own_id(row, "id"), _top_level(row))


def _write_toolcalls(trajectory: Trajectory) -> Row:
    conversation = from_text(trajectory.messages)
    messages, loss = write_messages(conversation)
    return {"messages": messages, "tools": conversation.tools, "loss": loss, **_fields(trajectory)}


def _read_xlam(row: Row) -> ForeignRow:
    if "conversation" not in row:
        return _read_function_calling(row)
    system = row.get("task_instruction")
    if system is not None and not isinstance(system, str):
        raise field_error("task_instruction", system, "text")
    conversation = read_conversation(row["conversation"], row.get("tools"), loss=row.get("loss"), system=system or None, key="conversation")
    return ForeignRow(to_text(conversation), _own_id(row, "unique_trajectory_id"), _extra(row))


def _read_function_calling(row: Row) -> ForeignRow:
    query = row.get("query")
    if not isinstance(query, str):
        raise field_error("query", query, "text (or `conversation`, a list of messages)")
    answers = parse_json(row.get("answers"), "answers")
    turns = [Turn("user", query)]
    if answers != []:  # no call is a right answer, too, but there is no text of it to learn from
        turns.append(Turn("assistant", "", read_calls(answers, "answers")[0]))
    conversation = Conversation(turns, None, read_tools(row.get("tools")))
    return ForeignRow(to_text(conversation), _own_id(row, "id"), _extra(row))


def _write_xlam(trajectory: Trajectory) -> Row:
    conversation = from_text(trajectory.messages)
    messages, loss = write_messages(conversation, with_system=False)
    return {
        "unique_trajectory_id": _id_in(trajectory, "xlam"),
        "task_instruction": conversation.system or "",
        "tools": conversation.tools,
        "conversation": messages,
        "loss": loss,
        _EXTRA_KEY: _fields(trajectory),
    }


FORMATS: dict[FormatName, tuple[Callable[[Row], ForeignRow], Callable[[Trajectory], Row]]] = {
    "agentgym": (_read_agentgym, to_agentgym),
    "agentinstruct": (_read_agentinstruct, _write_agentinstruct),
    "messages": (_read_messages, _write_messages),
    "toolcalls": (_read_toolcalls, _write_toolcalls),
    "xlam": (_read_xlam, _write_xlam),
}


def _own_id(row: Row, key: str) -> str | None:
    own = row.get(key)
    if own is None:
        return None
    if isinstance(own, bool) or not isinstance(own, str | int) or own == "":
        raise field_error(key, own, "text or a whole number")
    return str(own)


def _id_in(trajectory: Trajectory, name: str) -> str:
    return trajectory.item_id.removeprefix(f"{name}/") if trajectory.env == TEXT_ONLY else trajectory.item_id


def _fields(trajectory: Trajectory) -> dict[str, Any]:
    row = trajectory.to_row()
    return {name: value for name, value in row.items() if name in _FIELDS}


def _top_level(row: Row) -> dict[str, Any]:
    """A row with an item_id states the fields by their names; in other projects' rows a column such as `status` means something else."""
    names = _FIELDS if "item_id" in row else {"reward", "success"}
    empty = ("reward", "success")  # null is what a table has where a row says nothing
    return {name: value for name, value in row.items() if name in names and not (value is None and name in empty)}


def _extra(row: Row) -> dict[str, Any]:
    extra = row.get(_EXTRA_KEY)
    return {name: value for name, value in extra.items() if name in _FIELDS} if isinstance(extra, dict) else {}
