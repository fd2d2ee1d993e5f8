"""The page of all parameters, from the classes of agentevol/settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from agentevol.settings.engines import BaselineParams
from agentevol.settings.schema import Params
from docs.generate.markdown import code, table

_ROOT = Path(__file__).parents[2]
_EFFECTS = {
    "result": "changes datasets, policies or scores",
    "numerics": "changes how or where the same work is computed, and so at most the last bits of a result",
    "extra": "adds a check or a column and changes nothing else",
    "none": "changes only time, retries or locations, never a result",
}
_TYPES = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
    "dict": "mapping",
    "Any": "any",
    "NoneType": "null",
}
_INTRODUCTION = """\
# Parameters

Every key of `params.yaml`, with its default in the code and its meaning. You may leave out any of them. Set one for a single run
with `-S section.key=VALUE`, for example `agentevol evolve -S evolve.samples=3`. If a key is unknown or
a value is invalid, a command stops with a one-line error before anything starts. `params.yaml` itself sets some values that differ from
these defaults: the column *main job* shows them.

The column *effect* says what a parameter can change:

{effects}
"""


@dataclass(frozen=True)
class Parameter:
    """One row of the page."""

    key: str
    default: str
    type: str
    meaning: str
    effect: str
    formerly: str


def page() -> str:
    main_job = _flat(yaml.safe_load((_ROOT / "params.yaml").read_text(encoding="utf-8")))
    parts = [_INTRODUCTION.format(effects="\n".join(f"- *{name}*: it {text}." for name, text in _EFFECTS.items()))]
    plain = [(name, field) for name, field in Params.model_fields.items() if _section(field) is None]
    parts += ["## Top level", _rows([_parameter(name, field) for name, field in plain], main_job)]
    for name, field in Params.model_fields.items():
        if section := _section(field):
            parts += [f"## {name}", _text(section), _rows(list(_parameters(name, section)), main_job)]
    parts += ["## Entries of evaluate.baselines", _text(BaselineParams), _rows(list(_parameters("", BaselineParams)), {})]
    return "\n\n".join(parts) + "\n"


def keys() -> set[str]:
    """Every key that `-S` accepts, sections included."""
    found = set()
    for name, field in Params.model_fields.items():
        found.add(name)
        if section := _section(field):
            found |= _keys(name, section)
    return found


def every_parameter() -> Iterator[Parameter]:
    """All parameters in the order of the page, those of a hosted model last."""
    for name, field in Params.model_fields.items():
        section = _section(field)
        yield from _parameters(name, section) if section else [_parameter(name, field)]
    yield from _parameters("evaluate.baselines[]", BaselineParams)


def renamed() -> dict[str, str]:
    """Former key to present key, for every parameter that had another name."""
    changed = [parameter for parameter in every_parameter() if parameter.formerly]
    return {f"{parameter.key.rpartition('.')[0]}.{parameter.formerly}": parameter.key for parameter in changed}


def _keys(prefix: str, section: type[BaseModel]) -> set[str]:
    found = set()
    for name, field in section.model_fields.items():
        found.add(f"{prefix}.{name}")
        if inner := _section(field):
            found |= _keys(f"{prefix}.{name}", inner)
    return found


def _parameters(prefix: str, section: type[BaseModel]) -> Iterator[Parameter]:
    for name, field in section.model_fields.items():
        key = f"{prefix}.{name}" if prefix else name
        inner = _section(field)
        if inner:
            yield from _parameters(key, inner)
        else:
            yield _parameter(key, field)


def _parameter(key: str, field: FieldInfo) -> Parameter:
    extra: dict[str, Any] = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    default = "required" if field.is_required() else yaml_text(field.get_default(call_default_factory=True))
    meaning = field.description or ""
    return Parameter(key, default, type_text(field.annotation), meaning, str(extra.get("effect", "")), str(extra.get("formerly", "")))


def _rows(parameters: list[Parameter], main_job: dict[str, Any]) -> str:
    rows = []
    for parameter in parameters:
        value = yaml_text(main_job[parameter.key]) if parameter.key in main_job else ""
        differs = code(value) if value and value != parameter.default else ""
        rows.append((code(parameter.key), parameter.meaning, code(parameter.default), differs, parameter.type, parameter.effect))
    columns = ["key", "meaning", "default", "main job", "type", "effect"]
    kept = [index for index, name in enumerate(columns) if name != "main job" or any(row[index] for row in rows)]
    return table([columns[index] for index in kept], [[row[index] for index in kept] for row in rows])


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _text(section: type[BaseModel]) -> str:
    return re.sub(r"\n[ \t]+", "\n", section.__doc__ or "")


def yaml_text(value: Any) -> str:
    """A value as one would write it in params.yaml."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False).strip()
    return text.removesuffix("...").strip()


def type_text(annotation: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if hasattr(annotation, "__metadata__"):
        return type_text(arguments[0])
    if origin is list:
        return f"list of {type_text(arguments[0])}"
    if origin is dict:
        return "mapping"
    if arguments:
        return " or ".join(dict.fromkeys(type_text(argument) for argument in arguments))
    name = getattr(annotation, "__name__", str(annotation))
    return "mapping" if name == "BaselineParams" else _TYPES.get(name, name)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        flat[key] = value
        if isinstance(value, dict):
            flat |= _flat(value, f"{key}.")
    return flat
