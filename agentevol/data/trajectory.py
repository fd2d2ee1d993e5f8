"""The record of an episode: one schema for expert and explored data.

Invariant: the fields of `Trajectory` are the only place that lists the columns; the Parquet schema and the gate's type check derive from
`COLUMNS` and `OPTIONAL_COLUMNS`. The content digest covers all columns except `seconds`, so the same episodes have the same digest on a
slower machine. A file has an optional column only if its rows have values for it (dataset.write_dataset), and the digest covers `progress`,
`predicted_success` or `token_logprobs` only where a row has them: sets that were recorded without keep their bytes and their digests.
`message_seconds` is in no digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

Status = Literal["finished", "truncated", "error"]
TEXT_ONLY = "text"
"""The `env` of a trajectory that no environment of the project can replay: an imported conversation, which is learned from as text."""
_CONTENT = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


@dataclass(slots=True)
class Message:
    """One turn. `loss`: true for an answer that is trained on, false for an assistant message that is not, None for a user message."""

    role: Literal["user", "assistant"]
    content: str
    loss: bool | None = None


@dataclass(slots=True)
class Trajectory:
    """One episode of one policy on one instruction.

    `reward`: the sum of the step rewards; `rounds`: the number of actions; `status`: finished (ended by the environment), truncated (by
    the limit of rounds, of the context, or of repeated answers) or error (never trained on or scored). `error`: the reason of an error,
    and of a truncation by anything but the limit of rounds. `token_ids` and `loss_mask` (same length): the prompt and generated tokens,
    None if the engine does not return them; `tokens`: their number. `message_seconds`: when each message was complete, in seconds since the
    episode began; None if nobody measured it. `progress`: how far the episode came, from 0 to 1 (`TextEnv.progress`); None if the
    environment has no measure, for an error, and in sets that were recorded without it, such as the expert sets. `token_logprobs`: log p
    in nats of every token in the loss, in order, under the policy that sampled it, at temperature 1; None if nobody recorded them.
    `predicted_success`: the probability of success that a verifier gives the episode; None where none has judged it.
    """

    item_id: str
    env: str
    task_type: str
    split: str
    policy: str
    policy_hash: str
    iteration: int
    sample: int
    messages: list[Message]
    reward: float
    success: bool
    rounds: int
    status: Status
    error: str | None = None
    tokens: int = 0
    seconds: float = 0.0
    token_ids: list[int] | None = None
    loss_mask: list[bool] | None = None
    message_seconds: list[float] | None = field(default=None, compare=False, metadata={"optional": True})
    progress: float | None = field(default=None, metadata={"optional": True})
    token_logprobs: list[float] | None = field(default=None, metadata={"optional": True})
    predicted_success: float | None = field(default=None, metadata={"optional": True})

    def to_row(self) -> dict[str, Any]:
        """All columns by name, as JSON values, and the measures that are known; lists and dictionaries are copies."""
        row = {name: getattr(self, name) for name in _FIELDS}  # `asdict` copies every value, which takes ten times as long
        row["messages"] = [{"role": message.role, "content": message.content, "loss": message.loss} for message in self.messages]
        for name in _SCALAR_LISTS:
            row[name] = None if row[name] is None else list(row[name])
        return row | self.measures()

    def measures(self) -> dict[str, float]:
        """Those of MEASURES that are known, by name."""
        return {name: value for name in MEASURES if (value := getattr(self, name)) is not None}

    @property
    def truncated_by(self) -> Literal["context", "loop"] | None:
        """Why the episode was truncated, read from `error`: a full context or repeated answers. None for the limit of rounds."""
        if self.status != "truncated" or self.error is None:
            return None
        return "context" if " context of " in self.error else "loop"

    def text_key(self) -> str:
        """SHA-256 of the instruction and the answers: trajectories with the same key are duplicates.

        The id of a conversation that is text only may be the number of its row, which another file has too: there the whole text counts.
        """
        texts = [message.content for message in self.messages if message.role == "assistant" or self.env == TEXT_ONLY]
        return hashlib.sha256(json.dumps([self.item_id, texts]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Column:
    """A field as a column. `python_type`: str, int, float, bool or list; `element_type`: of a list's elements; `optional`: may be None."""

    name: str
    python_type: type
    element_type: type | None = None
    optional: bool = False


def columns(record: type, *, optional: bool = False) -> tuple[Column, ...]:
    """The fields of a dataclass as columns, in order, by their annotations; with `optional`, those that a file may lack. A Literal of
    strings is a str."""
    hints = get_type_hints(record)
    return tuple(_column(part.name, hints[part.name]) for part in fields(record) if part.metadata.get("optional", False) == optional)


def _column(name: str, annotation: Any) -> Column:
    optional = get_origin(annotation) is UnionType and NoneType in get_args(annotation)
    if optional:
        (annotation,) = (option for option in get_args(annotation) if option is not NoneType)
    if get_origin(annotation) is list:
        return Column(name, list, get_args(annotation)[0], optional)
    return Column(name, str if get_origin(annotation) is Literal else annotation, None, optional)


COLUMNS = columns(Trajectory)
OPTIONAL_COLUMNS = columns(Trajectory, optional=True)
MEASURES = tuple(column.name for column in OPTIONAL_COLUMNS if column.python_type is float)
"""The optional columns that the content digest covers."""
_FIELDS = [column.name for column in COLUMNS]
_SCALAR_LISTS = [column.name for column in COLUMNS if column.element_type not in (None, Message)]


class ContentDigest:
    """SHA-256 of rows in order, without their `seconds`, computed row by row."""

    def __init__(self) -> None:
        self._state = hashlib.sha256()

    def add(self, trajectory: Trajectory) -> None:
        row = trajectory.to_row()
        del row["seconds"]
        if trajectory.token_logprobs is not None:
            row["token_logprobs"] = trajectory.token_logprobs
        self._state.update(_CONTENT.encode(row).encode() + b"\n")

    def hexdigest(self) -> str:
        return self._state.hexdigest()


def content_digest(trajectories: Iterable[Trajectory]) -> str:
    """SHA-256 of the rows in order, without their `seconds`."""
    digest = ContentDigest()
    for trajectory in trajectories:
        digest.add(trajectory)
    return digest.hexdigest()
