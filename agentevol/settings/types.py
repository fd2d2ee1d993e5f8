"""Types of parameter values, each with an error text that says what is allowed, and the metadata that every parameter carries.

Imports nothing but pydantic, so that the command line starts quickly.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

ADAPTIVE: Final = "adaptive"
"""The value of evolve.samples with which the results of earlier episodes decide."""
Merge = Literal["initial", "cumulative", "none"]
StartFrom = Literal["base", "previous"]
Precision = Literal["auto", "float32", "bfloat16"]

Effect = Literal["result", "numerics", "extra", "none"]
"""What a parameter can change.

result: datasets, policies or scores. numerics: how or where the same work is computed, so the last bits at most. extra: an additional check
or table column; everything else stays as it is. none: neither of these, only time, retries or places.
"""


def parameter(default: Any, description: str, *, effect: Effect = "result", formerly: str = "", added_later: bool = False) -> Any:
    """A field of a Section: its default and meaning, what it can change, and the key it had before it was renamed.

    added_later: the default does what was done before this field existed. Store keys leave such a default out, so that earlier results are
    found again.
    """
    extra: dict[str, Any] = {"effect": effect, "formerly": formerly, "added_later": added_later}
    return Field(default, description=description, json_schema_extra=extra)


def _positive_int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a whole number of at least 1, or a list of them (one per iteration)")
    return value


def _samples(value: object) -> Any:
    if isinstance(value, str):
        if value != ADAPTIVE:
            raise ValueError(f"a whole number of at least 1, a list of them (one per iteration), or {ADAPTIVE}")
        return value
    return _schedule(value, _positive_int)


def _positive_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError("a number above 0, or a list of them (one per iteration)")
    return float(value)


def _schedule(value: object, check: Any) -> Any:
    if isinstance(value, list):
        if not value:
            raise ValueError("a list that is not empty, or one number")
        return [check(entry) for entry in value]
    return check(value)


def _plain_url(value: str) -> str:
    """An address without credentials: it is logged and stored, so it must not contain a secret."""
    check_url(value)
    return value.rstrip("/")


def check_url(value: str) -> None:
    """Raises ValueError if this is no http address, or has a user, a key or a query in it."""
    try:
        is_valid = bool(re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", value)) and urlsplit(value).port != 0
    except ValueError:  # of urlsplit: brackets without an IPv6 address, or a port that is none
        is_valid = False
    if not is_valid:
        raise ValueError("an address such as http://127.0.0.1:8000/v1, without a user, a key or a query in it")


def check_server_url(value: str) -> str:
    """The URL of an environment server as it is given, perhaps with `agentgym+` before it. Raises ValueError as `check_url` does."""
    try:
        check_url(value.removeprefix("agentgym+"))
    except ValueError:
        raise ValueError(
            "an address such as http://127.0.0.1:36001, without a user, a token or a query in it"
            " (the token belongs in the environment variable AGENTEVOL_TOKEN)"
        ) from None
    return value


Text = Annotated[str, Field(min_length=1)]
Natural = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""PyTorch and Parquet hold integers of 64 bits."""
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Temperature = Annotated[float, Field(ge=0, le=10)]
TopP = Annotated[float, Field(gt=0, le=1)]
Url = Annotated[str, AfterValidator(_plain_url)]
Samples = Annotated[int | list[int] | Literal["adaptive"], BeforeValidator(_samples)]
Numbers = Annotated[float | list[float], BeforeValidator(lambda value: _schedule(value, _positive_number))]


class Section(BaseModel):
    """A section of the parameters. An unknown key, or a value of another type, is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def schedule_value(value: Any, index: int) -> Any:
    """The entry of a schedule for an iteration: `value[index]`, or `value` where it is one number. Raises ValueError."""
    if index < 0 or (isinstance(value, list) and index >= len(value)):
        raise ValueError(f"no such iteration: index {index} in the schedule {value}")
    return value[index] if isinstance(value, list) else value
