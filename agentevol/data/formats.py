"""Trajectories in the forms that others read: AgentGym's JSON, and the `messages` rows of TRL and other trainers.

Invariant: a trajectory written and read again is equal to itself, and a foreign row read and written again keeps all it said. What a form
has no place for travels beside it, where its own readers pass over it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from agentevol.data.trajectory import Message, Trajectory
from envs.base import TextEnv
from envs.registry import ENVIRONMENTS, environment_class, environment_of

Row = dict[str, Any]
Form = Literal["agentgym", "messages"]

_REST = "agentevol"
_FROM = {"user": "human", "assistant": "gpt"}
_ROLE = {"human": "user", "gpt": "assistant"}
# AgentGym's item ids and file names call some environments otherwise
_ENVIRONMENTS = {"sqlgym": "bird", "lmrlgym_maze": "maze", "lmrlgym_wordle": "wordle"} | {
    f"tool_{name}": name for name in ("academia", "movie", "sheet", "todo", "weather")
}


class FormatError(ValueError):
    """A row is not of the form it should be; the message names the row and the field."""


def to_agentgym(trajectory: Trajectory) -> Row:
    """`{"conversations": [{"from": "human" | "gpt", "value", "loss"}], "item_id", "reward", "success"}`, the rest under "agentevol"."""
    row = trajectory.to_row()
    conversations = [
        {"from": _FROM[message["role"]], "loss": message["loss"], "value": message["content"]} for message in row.pop("messages")
    ]
    return {
        "conversations": conversations,
        "item_id": row.pop("item_id"),
        "reward": row.pop("reward"),
        "success": int(row.pop("success")),
        _REST: row,
    }


def from_agentgym(row: Row, *, reward: float | None = None) -> Trajectory:
    """A trajectory from AgentGym's JSON, ours or theirs.

    AgentTraj stores no reward, as only episodes above a threshold are in it: give `reward` to say what a row without one has earned.
    Raises FormatError where the row is not of the form, or says nothing of its reward and none was given.
    """
    item_id = _field(row, "item_id", str, "a row")
    turns = _field(row, "conversations", list, item_id)
    messages = [
        Message(_role(turn, "from", _ROLE, item_id), _field(turn, "value", str, item_id), turn.get("loss"))  # type: ignore[arg-type]
        for turn in turns
    ]
    earned = row.get("reward", reward)
    if earned is None:
        raise FormatError(
            f"{item_id}: the row has no reward; give reward= to say what such rows have earned (AgentTraj holds successes only)"
        )
    return _trajectory(row.get(_REST), item_id, messages, float(earned), row.get("success"))


def to_messages(trajectory: Trajectory) -> Row:
    """`{"messages": [{"role", "content"}], "loss": [one per message], "item_id", "env", ...}`: one row of a TRL data set."""
    row = trajectory.to_row()
    messages = row.pop("messages")
    plain = [{"role": message["role"], "content": message["content"]} for message in messages]
    return {"messages": plain, "loss": [message["loss"] for message in messages], **row}


def from_messages(row: Row, *, reward: float | None = None) -> Trajectory:
    """A trajectory from a row of messages, ours or another's; where it has no `loss`, all assistant messages are learnt from.

    `reward` as in `from_agentgym`. Raises FormatError.
    """
    item_id = _field(row, "item_id", str, "a row")
    turns = _field(row, "messages", list, item_id)
    roles = [_role(turn, "role", {"user": "user", "assistant": "assistant"}, item_id) for turn in turns]
    loss = row.get("loss")
    if loss is None:
        loss = [True if role == "assistant" else None for role in roles]
    if not isinstance(loss, list) or len(loss) != len(turns):
        raise FormatError(f"{item_id}: `loss` has to be a list with one entry for each of the {len(turns)} messages")
    contents = [_field(turn, "content", str, item_id) for turn in turns]
    messages = [Message(*parts) for parts in zip(roles, contents, loss, strict=True)]  # type: ignore[arg-type]
    earned = row.get("reward", reward)
    if earned is None:
        raise FormatError(f"{item_id}: the row has no reward; give reward= to say what such rows have earned")
    rest = {name: value for name, value in row.items() if name not in ("messages", "loss", "item_id", "reward", "success")}
    return _trajectory(rest, item_id, messages, float(earned), row.get("success"))


def write_rows(path: Path, trajectories: Iterable[Trajectory], form: Form) -> None:
    """Write a file of one form: AgentGym's is one JSON list, `messages` is one JSON value a line (what `datasets` loads)."""
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        if form == "messages":
            file.writelines(json.dumps(to_messages(trajectory), ensure_ascii=False) + "\n" for trajectory in trajectories)
            return
        mark = "["
        for trajectory in trajectories:
            # a list's own indentation, row by row: line breaks inside of texts are escaped in JSON
            file.write(mark + "\n " + json.dumps(to_agentgym(trajectory), ensure_ascii=False, indent=1).replace("\n", "\n "))
            mark = ","
        file.write("[]\n" if mark == "[" else "\n]\n")


def read_rows(path: Path, form: Form, *, reward: float | None = None) -> list[Trajectory]:
    """Read a file of one form. Raises FormatError, naming the file, where it is not of that form."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        rows: Sequence[Any] = json.loads(text) if form == "agentgym" else [json.loads(line) for line in text.split("\n") if line.strip()]
    except ValueError as error:
        raise FormatError(f"{path}: not {'a JSON list' if form == 'agentgym' else 'JSON lines'}: {error}") from None
    if not isinstance(rows, list):
        raise FormatError(f"{path}: a list of rows is expected, {type(rows).__name__} is there")
    read = from_agentgym if form == "agentgym" else from_messages
    try:
        return [read(row, reward=reward) for row in rows]
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def _trajectory(rest: Any, item_id: str, messages: list[Message], reward: float, success: Any) -> Trajectory:
    """With the fields that came along, or with what can be said of a foreign row."""
    known = dict(rest) if isinstance(rest, dict) else {}
    prefix = environment_of(item_id)
    foreign = {
        "env": _ENVIRONMENTS.get(prefix, prefix),
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
    fields = foreign | {name: value for name, value in known.items() if name in names}
    rule = environment_class(fields["env"]) if fields["env"] in ENVIRONMENTS else TextEnv
    fields["success"] = rule.succeeded(reward) if success is None else bool(success)
    return Trajectory(item_id=item_id, messages=messages, reward=reward, **fields)


def _field(row: Any, name: str, kind: type, where: str) -> Any:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, kind):
        raise FormatError(f"{where}: {name!r} has to be {'a list' if kind is list else 'text'}, {value!r} is there")
    return value


def _role(turn: Any, name: str, roles: dict[str, str], where: str) -> str:
    value = _field(turn, name, str, where)
    if value not in roles:
        raise FormatError(
            f"{where}: {name!r} is {value!r}; it has to be {' or '.join(roles)} (put a system message into the first user message)"
        )
    return roles[value]
