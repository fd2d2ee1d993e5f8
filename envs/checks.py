"""Checks of the values that an environment returns, or a server in its place: texts, rewards and progress.

Invariant: a value that passes can be written as UTF-8, JSON and Parquet.
"""

from __future__ import annotations

import math
from typing import Any


def check_observation(value: Any) -> str:
    """An observation of an environment, as text that can be written as UTF-8. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"the observation is {_describe(value)}; an environment must return text")
    return replace_surrogates(value)


def check_reward(value: Any) -> float:
    """A reward of an environment, as a finite float. Raises TypeError, ValueError."""
    try:
        reward = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        raise TypeError(f"the reward is {_describe(value)}; an environment must return a finite number") from None
    if not math.isfinite(reward):
        raise ValueError(f"the reward is {_describe(value)}; an environment must return a finite number")
    return reward


def check_progress(value: Any) -> float | None:
    """A progress from elsewhere: None, or a float from 0 to 1. Raises TypeError, ValueError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"the progress is {_describe(value)}; it must be None or a number from 0 to 1")
    if not 0 <= value <= 1:
        raise ValueError(f"the progress is {_describe(value)}; it must be None or a number from 0 to 1")
    return float(value)


def replace_surrogates(text: str) -> str:
    """The text with U+FFFD in place of every lone surrogate, which is no character: UTF-8, JSON and Parquet reject it.

    The two halves of a character that arrived as two surrogates become that character.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _describe(value: Any) -> str:
    """A value and its type, in one short line."""
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 60 else text[:60] + '...'} ({type(value).__name__})"
