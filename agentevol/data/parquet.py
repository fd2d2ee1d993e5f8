"""Trajectories as Arrow columns and back, a batch at a time, for the Parquet files of storage.py.

Invariant: a trajectory that went into columns comes out equal to itself. Nothing here holds more rows than it was given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from agentevol.data.trajectory import Message, Trajectory

_LISTS = ("token_ids", "loss_mask")


@lru_cache(maxsize=1)
def schema() -> Any:
    """The columns of a trajectory file, as Arrow types; a field is null only where the Trajectory may hold None."""
    import pyarrow as pa

    message = pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string()), pa.field("loss", pa.bool_())])
    text = ["item_id", "env", "task_type", "split", "policy", "policy_hash"]
    return pa.schema(
        [pa.field(name, pa.string(), nullable=False) for name in text]
        + [pa.field(name, pa.int32(), nullable=False) for name in ("iteration", "sample")]
        + [
            pa.field("messages", pa.list_(message), nullable=False),
            pa.field("reward", pa.float64(), nullable=False),
            pa.field("success", pa.bool_(), nullable=False),
            pa.field("rounds", pa.int32(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("error", pa.string()),
            pa.field("tokens", pa.int32(), nullable=False),
            pa.field("seconds", pa.float64(), nullable=False),
            pa.field("token_ids", pa.list_(pa.int32())),
            pa.field("loss_mask", pa.list_(pa.bool_())),
        ]
    )


def to_table(trajectories: Sequence[Trajectory]) -> Any:
    """A table of these rows. Raises pyarrow.ArrowException where a field has a type that its column does not."""
    import pyarrow as pa

    columns = [
        _messages(trajectories)
        if field.name == "messages"
        else pa.array([getattr(trajectory, field.name) for trajectory in trajectories], field.type)
        for field in schema()
    ]
    return pa.Table.from_arrays(columns, schema=schema())


def from_batch(batch: Any) -> Iterator[Trajectory]:
    """The rows of a record batch that has the schema's columns, in order."""
    names = list(schema().names)
    columns = []
    for name in names:
        column = batch.column(name)
        columns.append(_talks(column) if name == "messages" else _lists(column) if name in _LISTS else column.to_pylist())
    for values in zip(*columns, strict=True):
        yield Trajectory(**dict(zip(names, values, strict=True)))


def _messages(trajectories: Sequence[Trajectory]) -> Any:
    import pyarrow as pa

    wanted = schema().field("messages").type
    said = [message for trajectory in trajectories for message in trajectory.messages]
    parts = [
        pa.array([getattr(message, name) for message in said], wanted.value_type.field(name).type) for name in ("role", "content", "loss")
    ]
    ends = accumulate((len(trajectory.messages) for trajectory in trajectories), initial=0)
    flat = pa.StructArray.from_arrays(parts, fields=list(wanted.value_type))
    return pa.ListArray.from_arrays(pa.array(list(ends), pa.int32()), flat, type=wanted)


def _talks(column: Any) -> Iterator[list[Message]]:
    talk = column.flatten()  # of this batch's rows alone, wherever the batch was cut from
    said = [Message(*parts) for parts in zip(*(talk.field(name).to_pylist() for name in ("role", "content", "loss")), strict=True)]
    end = 0
    for length in column.value_lengths().to_pylist():
        begin, end = end, end + length
        yield said[begin:end]


def _lists(column: Any) -> Iterator[list[Any] | None]:
    """The lists of a column; as arrays of one type they are read many times quicker than value by value."""
    flat = column.flatten()
    values = flat.to_pylist() if flat.null_count else flat.to_numpy(zero_copy_only=False).tolist()
    end = 0
    for length in column.value_lengths().to_pylist():
        if length is None:
            yield None
        else:
            begin, end = end, end + length
            yield values[begin:end]
