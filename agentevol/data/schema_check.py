"""Checks that values fit the columns of a trajectory: the gate uses it for every row, an import for every field of a row.

Invariant: the accepted types derive from `COLUMNS` and `OPTIONAL_COLUMNS`, so a new column needs no line here.
"""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from sys import float_info
from types import NoneType
from typing import Any

from agentevol.data.trajectory import COLUMNS, OPTIONAL_COLUMNS, Column, Message, Trajectory

_INT_RANGE = range(-(2**31), 2**31)
"""Of the integer columns of a Parquet file."""


def schema_error(trajectory: Trajectory) -> str | None:
    """The first field that does not fit the schema, with its value; None if all do."""
    for name, types in _ACCEPTED_TYPES.items():
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


def allowed_values(name: str, value: Any) -> str | None:
    """What the column `name` allows, if `value` is not allowed there; None if it is."""
    column = _COLUMNS[name]
    types = _ACCEPTED_TYPES[name]
    fits = isinstance(value, types) and (not isinstance(value, bool) or bool in types)
    if fits and column.python_type is float and value is not None:
        fits = abs(value) <= float_info.max  # false for nan and inf, too
    if fits and isinstance(value, str):
        fits = is_unicode(value)
    if fits and column.python_type is int and isinstance(value, int):
        fits = value in _INT_RANGE
    if fits and isinstance(value, list) and column.element_type in (int, bool):
        fits = all(type(entry) is column.element_type and (column.element_type is bool or entry in _INT_RANGE) for entry in value)
    return None if fits else f"{_NAMES[column.python_type]}{' or null' if column.optional else ''}"


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can write the text: JSON may hold half of a surrogate pair, such as \\ud83d."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _accepted_types(column: Column) -> tuple[type, ...]:
    return ((int, float) if column.python_type is float else (column.python_type,)) + ((NoneType,) if column.optional else ())


_NAMES: dict[type, str] = {
    str: "text that UTF-8 can write",
    int: "a whole number of 32 bits",
    float: "a number",
    bool: "true or false",
    list: "a list",
}
_COLUMNS = {column.name: column for column in (*COLUMNS, *OPTIONAL_COLUMNS)}
_ACCEPTED_TYPES = {name: _accepted_types(column) for name, column in _COLUMNS.items()}
