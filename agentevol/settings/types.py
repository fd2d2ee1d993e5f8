"""The kinds of values that parameters take, each with the words that say what is allowed.

Imports nothing but pydantic, so that a command line stays quick.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Merge = Literal["initial", "cumulative", "none"]
StartFrom = Literal["base", "previous"]
Rule = Literal["reward_weighted", "threshold"]
Precision = Literal["auto", "float32", "bfloat16"]


def _positive_int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a whole number of at least 1, or a list of them (one per iteration)")
    return value


def _positive_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError("a number above 0, or a list of them (one per iteration)")
    return float(value)


def _schedule(value: object, one: Any) -> Any:
    if isinstance(value, list):
        if not value:
            raise ValueError("a list that is not empty, or one number")
        return [one(entry) for entry in value]
    return one(value)


def _plain_url(value: str) -> str:
    """An address alone: it is logged and stored, so nothing that may be a secret can be part of it."""
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", value):
        raise ValueError("an address such as http://127.0.0.1:8000/v1, without a user, a key or a query in it")
    return value.rstrip("/")


Text = Annotated[str, Field(min_length=1)]
Natural = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Temperature = Annotated[float, Field(ge=0, le=10)]
TopP = Annotated[float, Field(gt=0, le=1)]
Url = Annotated[str, AfterValidator(_plain_url)]
Counts = Annotated[int | list[int], BeforeValidator(lambda value: _schedule(value, _positive_int))]
Numbers = Annotated[float | list[float], BeforeValidator(lambda value: _schedule(value, _positive_number))]


class Section(BaseModel):
    """Keys and values as they stand in a file of parameters: an unknown key, or a value of another type, is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
