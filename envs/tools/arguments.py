"""The arguments of a tool call: parsed from the policy's text, checked, and converted to the types of the tool's parameters.

Invariant: the text is parsed as JSON or as Python literals and never evaluated. No value holds a lone surrogate, a tuple, or a number of
more than 15 digits.
"""

from __future__ import annotations

import ast
import json
import math
import re
from typing import Any

from envs.checks import replace_surrogates

_MAX_CHARS = 4_000
_MAX_DEPTH = 12
_MAX_NUMBER = 1e15
_INPUT = "Action Input:"
_CALL_WITH_INPUT = re.compile(r"([`'\" ]*[A-Za-z_]\w{0,60}[`'\" ]*(?:with )?Action Input:)(.*)", re.DOTALL)
_BLOCK_MARK = re.compile(r"```(?:json|python)? ?")


class InvalidArguments(ValueError):
    """The call cannot be parsed. The policy reads the message."""


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call by name, as JSON's types. Raises InvalidArguments."""
    text = text.strip().strip("`").strip()
    if len(text) > _MAX_CHARS or _nesting_depth(text) > _MAX_DEPTH:
        raise InvalidArguments("The input is too long or too deeply nested.")
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        if isinstance(value, dict) and all(isinstance(key, str) for key in value) and _is_json(value):
            # A Python tuple stands for a list. A lone surrogate, which JSON can escape, is no text that a database takes.
            arguments: dict[str, Any] = json.loads(replace_surrogates(json.dumps(value, ensure_ascii=False)))
            return arguments
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


def standard_call(action: str) -> str:
    """A call in one line as `name with Action Input: {...}`; a text that is no call is returned as it is.

    Models also write `name Action Input: {...}`, the input between ```json and ```, and further text after the input.
    """
    match = _CALL_WITH_INPUT.fullmatch(action)
    if match is None:
        return action
    head, text = match[1], match[2]
    if not head.endswith("with Action Input:"):
        head = f"{head.removesuffix('Action Input:').rstrip()} with Action Input:"
    if not _are_arguments(text):
        shortened = _first_braces(_BLOCK_MARK.sub("", text))
        text = f" {shortened}" if _are_arguments(shortened) and _INPUT not in text else text
    return head + text


def _convert_number(value: Any, annotation: Any, name: str) -> int | float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or (annotation is int and number != int(number)):
        raise InvalidArguments(f"{name} must be a {'whole ' if annotation is int else ''}number")
    if abs(number) >= _MAX_NUMBER:
        raise InvalidArguments(f"{name} must be a number of at most 15 digits")
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


def _are_arguments(text: str) -> bool:
    try:
        parse_arguments(text)
    except InvalidArguments:
        return False
    return True


def _first_braces(text: str) -> str:
    """The text from the first brace to the one that closes it; brackets within quotes do not count. "" if there is none."""
    start, depth, quote, escaped = text.find("{"), 0, "", False
    for position in range(max(start, 0), min(len(text), max(start, 0) + _MAX_CHARS)):
        char = text[position]
        if quote:
            quote = "" if char == quote and not escaped else quote
            escaped = char == "\\" and not escaped
        elif char in "'\"":
            quote = char
        elif char in "{}":
            depth += 1 if char == "{" else -1
            if depth == 0:
                return text[start : position + 1]
    return ""
