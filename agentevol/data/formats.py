"""Trajectories in formats of other tools: AgentGym's JSON, and the `messages` rows of TRL and other trainers.

Invariant: a trajectory that is written and read again is equal to itself, and a foreign row that is read and written again keeps its
conversation. Fields that a format does not have are stored as extra keys, which the other tools ignore.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from agentevol.data.trajectory import Message, Trajectory
from envs.base import TextEnv
from envs.registry import environment_class, environment_of, is_registered

Row = dict[str, Any]
RowFormat = Literal["agentgym", "messages"]

_EXTRA_KEY = "agentevol"
_AGENTGYM_ROLES = {"user": "human", "assistant": "gpt"}
_ROLES = {"human": "user", "gpt": "assistant"}
# other names of environments in AgentGym's item ids and file names
_ENVIRONMENT_NAMES = {"sqlgym": "bird", "lmrlgym_maze": "maze", "lmrlgym_wordle": "wordle"} | {
    f"tool_{name}": name for name in ("academia", "movie", "sheet", "todo", "weather")
}


class FormatError(ValueError):
    """A row or file does not have the expected format; the message names the row and the field."""


def to_agentgym(trajectory: Trajectory) -> Row:
    """`{"conversations": [{"from": "human" | "gpt", "value", "loss"}], "item_id", "reward", "success"}`; other fields under "agentevol"."""
    row = trajectory.to_row()
    conversations = [
        {"from": _AGENTGYM_ROLES[message["role"]], "loss": message["loss"], "value": message["content"]} for message in row.pop("messages")
    ]
    return {
        "conversations": conversations,
        "item_id": row.pop("item_id"),
        "reward": row.pop("reward"),
        "success": int(row.pop("success")),
        _EXTRA_KEY: row,
    }


def from_agentgym(row: Row, *, reward: float | None = None) -> Trajectory:
    """A trajectory from a row of AgentGym's JSON, written by AgentGym or by `to_agentgym`.

    The rows of AgentTraj have no reward, because all of them are successful episodes: `reward` is used for rows without one.
    Raises FormatError if the row has another format, or if it has no reward and `reward` is None.
    """
    item_id = _field(row, "item_id", str, "a row")
    turns = _field(row, "conversations", list, item_id)
    messages = [
        Message(_role(turn, "from", _ROLES, item_id), _field(turn, "value", str, item_id), turn.get("loss"))  # type: ignore[arg-type]
        for turn in turns
    ]
    row_reward = row.get("reward", reward)
    if row_reward is None:
        raise FormatError(f"{item_id}: the row has no reward; pass reward= for such rows (AgentTraj has successful episodes only)")
    return make_trajectory(row.get(_EXTRA_KEY), item_id, messages, float(row_reward), row.get("success"))


def to_messages(trajectory: Trajectory) -> Row:
    """`{"messages": [{"role", "content"}], "loss": [one per message], "item_id", "env", ...}`: one row of a TRL dataset."""
    row = trajectory.to_row()
    messages = row.pop("messages")
    plain = [{"role": message["role"], "content": message["content"]} for message in messages]
    return {"messages": plain, "loss": [message["loss"] for message in messages], **row}


def from_messages(row: Row, *, reward: float | None = None) -> Trajectory:
    """A trajectory from a row of messages; if it has no `loss`, all assistant messages are trained on.

    `reward` as in `from_agentgym`. Raises FormatError.
    """
    item_id = _field(row, "item_id", str, "a row")
    turns = _field(row, "messages", list, item_id)
    roles = [_role(turn, "role", {"user": "user", "assistant": "assistant"}, item_id) for turn in turns]
    loss = row.get("loss")
    if loss is None:
        loss = [True if role == "assistant" else None for role in roles]
    if not isinstance(loss, list) or len(loss) != len(turns):
        raise FormatError(f"{item_id}: `loss` must be a list with one entry for each of the {len(turns)} messages")
    contents = [_field(turn, "content", str, item_id) for turn in turns]
    messages = [Message(*parts) for parts in zip(roles, contents, loss, strict=True)]  # type: ignore[arg-type]
    row_reward = row.get("reward", reward)
    if row_reward is None:
        raise FormatError(f"{item_id}: the row has no reward; pass reward= for such rows")
    extra = {name: value for name, value in row.items() if name not in ("messages", "loss", "item_id", "reward", "success")}
    return make_trajectory(extra, item_id, messages, float(row_reward), row.get("success"))


def write_rows(path: Path, trajectories: Iterable[Trajectory], row_format: RowFormat) -> None:
    """Write a file of one format: agentgym is one JSON list, messages is JSON lines (which `datasets` loads)."""
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        if row_format == "messages":
            file.writelines(json.dumps(to_messages(trajectory), ensure_ascii=False) + "\n" for trajectory in trajectories)
            return
        separator = "["
        for trajectory in trajectories:
            # the indentation of json.dump of a list; line breaks in texts are escaped, so every \n is one between lines
            file.write(separator + "\n " + json.dumps(to_agentgym(trajectory), ensure_ascii=False, indent=1).replace("\n", "\n "))
            separator = ","
        file.write("[]\n" if separator == "[" else "\n]\n")


def read_rows(path: Path, row_format: RowFormat, *, reward: float | None = None) -> list[Trajectory]:
    """Read a file of one format. Raises FormatError, which names the file, if it has another."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        rows: Sequence[Any] = (
            json.loads(text) if row_format == "agentgym" else [json.loads(line) for line in text.split("\n") if line.strip()]
        )
    except ValueError as error:
        raise FormatError(f"{path}: not {'a JSON list' if row_format == 'agentgym' else 'JSON lines'}: {error}") from None
    if not isinstance(rows, list):
        raise FormatError(f"{path}: expected a list of rows, got {type(rows).__name__}")
    read = from_agentgym if row_format == "agentgym" else from_messages
    try:
        return [read(row, reward=reward) for row in rows]
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def make_trajectory(extra: Any, item_id: str, messages: list[Message], reward: float, success: Any) -> Trajectory:
    """A trajectory with the extra fields of a row, and default values for those that a foreign row does not have."""
    known = dict(extra) if isinstance(extra, dict) else {}
    prefix = environment_of(item_id)
    defaults = {
        "env": _ENVIRONMENT_NAMES.get(prefix, prefix),
        "task_type": prefix,
        "split": "train",
        "policy": "imported",
        "policy_hash": "",
        "iteration": 0,
        "sample": 0,
        "rounds": sum(message.role == "assistant" and message.loss is not False for message in messages),
        "status": "finished",
    }
    names = set(Trajectory.__dataclass_fields__)
    fields = defaults | {name: value for name, value in known.items() if name in names}
    rule = environment_class(fields["env"]) if is_registered(fields["env"]) else TextEnv
    fields["success"] = rule.succeeded(reward) if success is None else bool(success)
    return Trajectory(item_id=item_id, messages=messages, reward=reward, **fields)


def _field(row: Any, name: str, kind: type, where: str) -> Any:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, kind):
        raise FormatError(f"{where}: {name!r} must be {'a list' if kind is list else 'text'}, got {value!r}")
    return value


def _role(turn: Any, name: str, roles: dict[str, str], where: str) -> str:
    value = _field(turn, name, str, where)
    if value not in roles:
        raise FormatError(
            f"{where}: {name!r} must be {' or '.join(roles)}, got {value!r} (put a system message into the first user message)"
        )
    return roles[value]
