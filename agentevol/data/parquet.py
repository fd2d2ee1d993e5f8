"""Trajectories as Arrow columns and back, a batch at a time, for the Parquet files of dataset.py.

Invariant: a trajectory converted to columns and back is equal to the original. Memory grows only with the rows of one call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from agentevol.data.trajectory import COLUMNS, OPTIONAL_COLUMNS, Column, Message, Trajectory, columns

_MESSAGE_COLUMNS = columns(Message)


@lru_cache(maxsize=4)
def schema(optional: frozenset[str] = frozenset()) -> Any:
    """The columns of a trajectory file, as Arrow types; a column is nullable only if the Trajectory's field may be None.

    `optional`: the optional columns that the file has (trajectory.OPTIONAL_COLUMNS).
    """
    import pyarrow as pa

    return pa.schema([pa.field(column.name, _arrow_type(column), nullable=column.optional) for column in _columns(optional)])


def known_columns() -> set[str]:
    """The names of all columns that a trajectory file can have."""
    return {column.name for column in (*COLUMNS, *OPTIONAL_COLUMNS)}


def _columns(optional: Collection[str]) -> tuple[Column, ...]:
    return (*COLUMNS, *(column for column in OPTIONAL_COLUMNS if column.name in optional))


def _arrow_type(column: Column) -> Any:
    """The Arrow type of a column. List elements and struct fields are nullable; the gate checks for missing values."""
    import pyarrow as pa

    if column.element_type is Message:
        return pa.list_(pa.struct([pa.field(part.name, _arrow_type(part)) for part in _MESSAGE_COLUMNS]))
    if column.element_type is not None:
        return pa.list_(_arrow_type(Column(column.name, column.element_type)))
    return {str: pa.string(), int: pa.int32(), float: pa.float64(), bool: pa.bool_()}[column.python_type]


def to_table(trajectories: Sequence[Trajectory], optional: frozenset[str] = frozenset()) -> Any:
    """A table of these rows. Raises pyarrow.ArrowException if a value does not fit the type of its column."""
    import pyarrow as pa

    arrays = [
        _messages(trajectories)
        if column.element_type is Message
        else pa.array([getattr(trajectory, column.name) for trajectory in trajectories], _arrow_type(column))
        for column in _columns(optional)
    ]
    return pa.Table.from_arrays(arrays, schema=schema(optional))


def from_batch(batch: Any) -> Iterator[Trajectory]:
    """The rows of a record batch that has the schema's columns and any of the optional ones, in order."""
    present = _columns(batch.schema.names)
    names = [column.name for column in present]
    for values in zip(*(_values(column, batch.column(column.name)) for column in present), strict=True):
        yield Trajectory(**dict(zip(names, values, strict=True)))


def _values(column: Column, array: Any) -> Iterable[Any]:
    if column.element_type is Message:
        return _message_lists(array)
    values: Iterable[Any] = array.to_pylist() if column.element_type is None else _lists(array)
    return values


def _messages(trajectories: Sequence[Trajectory]) -> Any:
    import pyarrow as pa

    list_type = schema().field("messages").type
    messages = [message for trajectory in trajectories for message in trajectory.messages]
    parts = [pa.array([getattr(message, part.name) for message in messages], _arrow_type(part)) for part in _MESSAGE_COLUMNS]
    offsets = accumulate((len(trajectory.messages) for trajectory in trajectories), initial=0)
    flat = pa.StructArray.from_arrays(parts, fields=list(list_type.value_type))
    return pa.ListArray.from_arrays(pa.array(list(offsets), pa.int32()), flat, type=list_type)


def _message_lists(array: Any) -> Iterator[list[Message]]:
    flat = array.flatten()  # only this batch's rows, even if the batch is a slice of a longer array
    parts = (flat.field(part.name).to_pylist() for part in _MESSAGE_COLUMNS)
    messages = [Message(*values) for values in zip(*parts, strict=True)]
    end = 0
    for length in array.value_lengths().to_pylist():
        begin, end = end, end + length
        yield messages[begin:end]


def _lists(array: Any) -> Iterator[list[Any] | None]:
    """The lists of a column of numbers or flags; converting them as one flat array is many times faster than value by value."""
    flat = array.flatten()
    values = flat.to_pylist() if flat.null_count else flat.to_numpy(zero_copy_only=False).tolist()
    end = 0
    for length in array.value_lengths().to_pylist():
        if length is None:
            yield None
        else:
            begin, end = end, end + length
            yield values[begin:end]
