"""Whether an answer given to `finish` is the expected one.

Invariant: small differences in number format, letter case, spaces and the order of a list do not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

_MAX_CHARS = 4_000


class AnyOf(str):
    """The answer that the expert gives, where `others` are equally right."""

    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, answer: str, others: Iterable[str]) -> AnyOf:
        self = cls(answer)
        self.others = tuple(others)
        return self


def same_answer(answer: Any, expected: Any) -> bool:
    """Numbers within 0.01 or 0.1 %, text case-insensitive, lists in any order; a list of one equals its element."""
    if isinstance(expected, AnyOf):
        return any(same_answer(answer, text) for text in (str(expected), *expected.others))
    if isinstance(expected, list):
        values = answer if isinstance(answer, list) else [answer]
        return sorted(map(_normalized, values)) == sorted(map(_normalized, expected))
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if isinstance(expected, int | float) and not isinstance(expected, bool):
        try:
            number = float(answer)
        except (TypeError, ValueError, OverflowError):
            return False
        return math.isclose(number, expected, rel_tol=1e-3, abs_tol=1e-2)
    return _normalized(answer) == _normalized(expected)


def _normalized(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = " ".join(str(value)[:_MAX_CHARS].split()).lower().rstrip(".")
    try:
        return f"{float(text):.6g}"
    except ValueError:
        return {"true": "yes", "false": "no"}.get(text, text)
