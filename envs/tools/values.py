"""Values as text: what a policy writes as arguments, what it is told, and when two answers are the same."""

from __future__ import annotations

import ast
import json
import math
from typing import Any

_LONGEST = 4_000
_DEEPEST = 12
_LARGEST = 1e15


class BadArguments(ValueError):
    """A call cannot be read; the message is what the policy is told."""


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments of a call, written as JSON or as Python literals. Raises BadArguments; nothing is evaluated."""
    text = text.strip().strip("`").strip()
    if len(text) > _LONGEST or _depth(text) > _DEEPEST:
        raise BadArguments("The input is too long or too deeply nested.")
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        if isinstance(value, dict) and all(isinstance(name, str) for name in value) and _plain(value):
            return value
        break
    raise BadArguments('The input must be arguments by name in braces, such as {"name": "value"}, or {} for none.')


def fitted(value: Any, kind: Any, what: str) -> Any:
    """The value as a parameter of that kind takes it: numbers as text are read, text may be a number. Raises BadArguments."""
    if kind is Any or isinstance(kind, str):
        return value
    if kind is bool:
        words = {"true": True, "false": False}
        found = words.get(str(value).strip().lower())
        if found is None:
            raise BadArguments(f"{what} must be true or false")
        return found
    if kind in (int, float):
        return _number(value, kind, what)
    if kind is str:
        if isinstance(value, list | dict) or value is None:
            raise BadArguments(f"{what} must be text")
        return str(value)
    if not isinstance(value, list):
        raise BadArguments(f"{what} must be a list")
    return value


def same_answer(given: Any, gold: Any) -> bool:
    """Whether an answer is the right one: numbers to a hundredth or a thousandth part, text without regard to case, lists in any order."""
    if isinstance(gold, list):
        values = given if isinstance(given, list) else [given]
        return sorted(map(_key, values)) == sorted(map(_key, gold))
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if isinstance(gold, int | float) and not isinstance(gold, bool):
        try:
            number = float(given)
        except (TypeError, ValueError, OverflowError):
            return False
        return math.isclose(number, gold, rel_tol=1e-3, abs_tol=1e-2)
    return _key(given) == _key(gold)


def _key(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = " ".join(str(value)[:_LONGEST].split()).lower().rstrip(".")
    try:
        return f"{float(text):.6g}"
    except ValueError:
        return {"true": "yes", "false": "no"}.get(text, text)


def _number(value: Any, kind: Any, what: str) -> int | float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or (kind is int and number != int(number)):
        raise BadArguments(f"{what} must be a {'whole ' if kind is int else ''}number")
    return int(number) if kind is int else number


def _plain(value: Any) -> bool:
    """Whether it is made of JSON's kinds alone, as literals such as sets, bytes and complex numbers are not."""
    if isinstance(value, dict):
        return all(isinstance(name, str) and _plain(entry) for name, entry in value.items())
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return -_LARGEST < value < _LARGEST
    return value is None or isinstance(value, str | bool)


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    return deepest
