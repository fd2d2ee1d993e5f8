"""Parameters from params.yaml, overridden by `key=value` strings, checked before any work begins.

Invariant: every mistake ends in a SettingsError of one line that names the key, what was given and what is allowed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from agentevol.settings.schema import Params


class SettingsError(ValueError):
    """The parameters cannot be used; the message is one line for the user."""


def load_params(path: Path = Path("params.yaml"), overrides: Sequence[str] = ()) -> Params:
    """The parameters of `path` with `overrides` such as "evolve.samples=3" (dotted key, YAML value) applied in order.

    Raises SettingsError when the file cannot be read, an override is malformed, or a value is not allowed.
    """
    values = _read(Path(path))
    for override in overrides:
        _apply(values, override)
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from None


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a number (YAML 1.1 reads a string) and refuses a key given twice (YAML 1.1 keeps the last)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_SCIENTIFIC = re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _SCIENTIFIC, list("-+0123456789"))


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise SettingsError(f"{where}{place}: not valid YAML: {getattr(error, 'problem', None) or error}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); run from the project's root or name the file") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: cannot be read (not UTF-8 text)") from None
    values = _parse(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: {type(values).__name__} given, but sections such as `evolve:` with their keys are expected")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise SettingsError(f"override {override!r}: expected key=value, as in evolve.samples=3")
    target = values
    for depth, part in enumerate(parts[:-1], start=1):
        section = target.get(part)
        if section is None:
            section = target[part] = {}
        if not isinstance(section, dict):
            raise SettingsError(f"override {override!r}: {'.'.join(parts[:depth])} is a value, not a section")
        target = section
    target[parts[-1]] = _parse(text, f"override {override!r}")


_MAY_BE_SECRET = {"url", "options", "servers", "api_key_env"}  # what stands there wrongly may be a key: it is not repeated
_HAS_SECRETS = {"engine", "rollout", "evaluate", "baselines", "store"}  # nor is the whole section
_PLAIN_WORDS = {
    "int_type": "a whole number, e.g. 4",
    "int_parsing": "a whole number, e.g. 4",
    "int_from_float": "a whole number, e.g. 4",
    "float_type": "a number, e.g. 0.5",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list, e.g. [1, 2]",
    "dict_type": "keys and values in braces, e.g. {key: value}",
    "finite_number": "a number that is not infinite",
    "string_too_short": "a text that is not empty",
    "too_short": "a list that is not empty",
}
"""For the types of pydantic's errors whose own text is not for users."""
_LIST_EXAMPLES = {
    "environments": "[babyai, maze]",
    "baselines": "[{name: GPT-4-Turbo, url: https://.../v1, model: gpt-4-turbo}]",
    "merge": "[initial, none]",
    "start_from": "[base, previous]",
    "rule": "[reward_weighted, threshold]",
}


def _one_line(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"]) or "params"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        *section, name = first["loc"]
        if new := _renamed(section, str(name)):
            return f"{key}: renamed; use {'.'.join(str(part) for part in (*section, new))}{more}"
        keys = list(_fields(section))
        near = difflib.get_close_matches(str(first["loc"][-1]), keys, n=1)
        hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(keys)}"
        return f"{key}: unknown key; {hint}{more}"
    allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    allowed = _PLAIN_WORDS.get(first["type"], allowed)
    if first["type"] == "list_type" and (example := _LIST_EXAMPLES.get(str(first["loc"][-1]))):
        allowed = f"a list, e.g. {example}"
    if not first["loc"] and first["type"] == "value_error":
        return f"{allowed}{more}"  # a rule between two keys names them itself
    if first["type"] in {"model_type", "model_attributes_type"}:
        keys = list(_fields(first["loc"]))
        allowed = f"a section with the keys {', '.join(keys)}" if keys else "a section of keys and values"
    if first["type"] == "missing":
        return f"{key}: missing; give it a value{more}"
    given = "" if _may_be_secret(first["loc"]) else f"{'null' if first['input'] is None else repr(first['input'])} given; "
    return f"{key}: {given}allowed: {allowed}{more}"


def _may_be_secret(location: Sequence[int | str]) -> bool:
    names = [part for part in location if isinstance(part, str)]
    return not _MAY_BE_SECRET.isdisjoint(names) or not _HAS_SECRETS.isdisjoint(names[-1:])


def _renamed(section: Sequence[int | str], name: str) -> str:
    """The new name of a key that was renamed; empty for any other key."""
    for new, field in _fields(section).items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("formerly") == name:
            return new
    return ""


def _fields(location: Sequence[int | str]) -> dict[str, FieldInfo]:
    """The keys of the section at `location`, with their definitions; none where that is no section."""
    section: type[BaseModel] = Params
    for part in location:
        if isinstance(part, int):
            continue  # an entry of a list
        annotation: Any = section.model_fields[part].annotation
        annotation = next(iter(get_args(annotation)), None) if get_origin(annotation) is list else annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return {}
        section = annotation
    return section.model_fields
