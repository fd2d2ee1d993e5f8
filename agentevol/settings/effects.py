"""Which parameters can change a result, read from the metadata of the settings' fields.

Invariant: this is the only reader of `effect` and `added_later`. Store keys, checkpoint keys and the comparison of runs all come from here,
so whether a parameter counts is stated once, where the parameter is defined.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel

from agentevol.settings.evolve import EvolveParams, SweepParams
from agentevol.settings.schema import Params
from agentevol.settings.types import Effect

_NOT_OF_A_RUN = ("sweep", "pretrain")
_BY_CONTENT = ("model.base",)
"""Compared by the digest of its content instead of its name."""


def effect_of(section: type[BaseModel], name: str) -> Effect:
    """What the field can change; a model without this metadata (such as Sampling) changes results."""
    extra = section.model_fields[name].json_schema_extra
    effect: Effect = extra.get("effect", "result") if isinstance(extra, dict) else "result"  # type: ignore[assignment]
    return effect


def key_values(settings: BaseModel) -> dict[str, Any]:
    """The settings that belong in a key, as JSON values: all but those that can change nothing, and defaults that were added later."""
    return _select(settings, "result", "numerics", "extra")


def all_values(settings: BaseModel) -> dict[str, Any]:
    """All settings as JSON values, but defaults that were added later."""
    return _select(settings, *get_args(Effect))


def comparable_parameters(params: Params, precision: str) -> dict[str, Any]:
    """What two runs must have in common to be compared by what a sweep varies (M, K, seed, merge, start, rule): dotted keys, JSON values.

    `precision`: the number format that this machine computes in, because `auto` differs between machines.
    """
    varied = {"seed", *(f"evolve.{name}" for name in SweepParams.model_fields if name in EvolveParams.model_fields)}
    values = {name: value for name, value in _select(params, "result").items() if name not in _NOT_OF_A_RUN}
    kept = {key: value for key, value in flatten(values).items() if key not in varied and key not in _BY_CONTENT}
    return kept | {"finetune.precision": precision}


def with_later_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` of `comparable_parameters`, with the defaults of fields that were added later; empty if `values` is."""
    later = _later_defaults()
    return {**{key: value for key, value in later.items() if values and not _has(values, key)}, **values}


def first_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """The first key with different values in `a` and `b` (from `comparable_parameters`), with both values; empty if there is none.

    A parameter that was added later has its default where it is absent. Another key of one side only says nothing: it is ignored.
    """
    if not a or not b:
        return ""
    later, full_a, full_b = _later_defaults(), with_later_defaults(a), with_later_defaults(b)
    for key in dict.fromkeys([*full_a, *full_b]):
        is_later = any(key == name or key.startswith(f"{name}.") for name in later)
        on_both = key in full_a and key in full_b
        if (on_both or is_later) and full_a.get(key) != full_b.get(key):
            return f"{key}: {full_a.get(key)} and {full_b.get(key)}"
    return ""


@cache
def _later_defaults() -> dict[str, Any]:
    """The defaults that `comparable_parameters` leaves out, by dotted key."""
    kept, everything = (flatten(_select(Params(), "result", with_later=with_later)) for with_later in (False, True))
    return {key: value for key, value in everything.items() if key not in kept and key.partition(".")[0] not in _NOT_OF_A_RUN}


def _has(values: Mapping[str, Any], key: str) -> bool:
    """Whether `values` has the key, or keys below it (an objective's weights)."""
    return any(name == key or name.startswith(f"{key}.") for name in values)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one dictionary with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _select(settings: BaseModel, *effects: Effect, with_later: bool = False) -> dict[str, Any]:
    dumped = settings.model_dump(mode="json")
    return {
        name: _select_value(getattr(settings, name), dumped[name], effects, with_later)
        for name in type(settings).model_fields
        if effect_of(type(settings), name) in effects and (with_later or not _is_later_default(settings, name))
    }


def _is_later_default(settings: BaseModel, name: str) -> bool:
    field = type(settings).model_fields[name]
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("added_later")) and getattr(settings, name) == field.default


def _select_value(value: Any, dumped: Any, effects: Collection[Effect], with_later: bool) -> Any:
    if isinstance(value, BaseModel):
        return _select(value, *effects, with_later=with_later)
    if isinstance(value, list) and value and isinstance(value[0], BaseModel):
        return [_select(entry, *effects, with_later=with_later) for entry in value]
    return dumped
