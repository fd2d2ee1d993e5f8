"""The arguments of a tool call: parsed from the policy's text, checked, and converted to the types of the tool's parameters.

Invariant: the text is parsed as JSON or as Python literals and never evaluated.
"""

from __future__ import annotations

import ast
import json
import math
from typing import Any

_MAX_CHARS = 4_000
_MAX_DEPTH = 12
_MAX_NUMBER = 1e15


class InvalidArguments(ValueError):
    """The call cannot be parsed. The policy reads the message."""


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call by name. Raises InvalidArguments."""
    text = text.strip().strip("`").strip()
    if len(text) > _MAX_CHARS or _nesting_depth(text) > _MAX_DEPTH:
        raise InvalidArguments("The input is too long or too deeply nested.")
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        if isinstance(value, dict) and all(isinstance(key, str) for key in value) and _is_json(value):
            return value
        break
    raise InvalidArguments('The input must be arguments by name in braces, such as {"name": "value"}, or {} for none.')


def convert_argument(value: Any, annotation: Any, name: str) -> Any:
    """The value as the parameter's type: a number may be given as text, and text as a number. Raises InvalidArguments.

    `name`: the argument in the message.
    """
    if annotation is Any or isinstance(annotation, str):
        return value
    if annotation is bool:
        words = {"true": True, "false": False}
        flag = words.get(str(value).strip().lower())
        if flag is None:
            raise InvalidArguments(f"{name} must be true or false")
        return flag
    if annotation in (int, float):
        return _convert_number(value, annotation, name)
    if annotation is str:
        if isinstance(value, list | dict) or value is None:
            raise InvalidArguments(f"{name} must be text")
        return str(value)
    if not isinstance(value, list):
        raise InvalidArguments(f"{name} must be a list")
    return value


def _convert_number(value: Any, annotation: Any, name: str) -> int | float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or (annotation is int and number != int(number)):
        raise InvalidArguments(f"{name} must be a {'whole ' if annotation is int else ''}number")
    return int(number) if annotation is int else number


def _is_json(value: Any) -> bool:
    """Whether the value has JSON's types alone: no sets, bytes or complex numbers, which are Python literals too."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(entry) for key, entry in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return -_MAX_NUMBER < value < _MAX_NUMBER
    return value is None or isinstance(value, str | bool)


def _nesting_depth(text: str) -> int:
    depth = max_depth = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        max_depth = max(max_depth, depth)
    return max_depth
