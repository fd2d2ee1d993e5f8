"""An environment's actions as functions with parameters, for policies that call functions instead of writing actions.

Invariant: `Function.to_action(Function.to_arguments(action)) == action`; an action that a function cannot give exactly is none of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

JsonType = Literal["string", "integer", "number", "boolean", "array", "any"]
_PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {"integer": int, "number": (int, float), "boolean": bool, "array": list}
_PATTERNS = {"string": "(.*?)", "integer": r"(-?\d{1,15})", "boolean": "([01])"}
_DESCRIPTIONS = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false", "array": "a list"}


class InvalidCall(ValueError):
    """A call that is no action of the environment. The policy reads the message."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a function. `choices`: the only values of a string."""

    name: str
    description: str = ""
    type: JsonType = "string"
    choices: tuple[str, ...] = ()

    def schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        kind = {} if self.type == "any" else {"type": self.type}
        described = {"description": self.description} if self.description else {}
        return kind | described | ({"enum": list(self.choices)} if self.choices else {})

    def check(self, value: Any) -> Any:
        """The value; a number is also taken as text, and text as a number. Raises InvalidCall."""
        if self.type == "string" and isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if self.type == "integer" and isinstance(value, str) and re.fullmatch(_PATTERNS["integer"], value, re.ASCII):
            value = int(value)
        expected = _PYTHON_TYPES.get(self.type, str)
        if self.type != "any" and (not isinstance(value, expected) or (self.type in ("integer", "number") and isinstance(value, bool))):
            raise InvalidCall(f"{self.name} must be {_DESCRIPTIONS[self.type]}")
        if self.choices and value not in self.choices:
            raise InvalidCall(f"{self.name} must be one of {', '.join(self.choices)}")
        return value


@dataclass(frozen=True, slots=True)
class Function:
    """A kind of action. `templates`: its text, with parameters in braces; several where parameters may be left out."""

    name: str
    description: str
    templates: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()

    def schema(self) -> dict[str, Any]:
        """Its description in the form that chat templates and OpenAI-compatible servers take as an entry of `tools`."""
        parameters = {
            "type": "object",
            "properties": {parameter.name: parameter.schema() for parameter in self.parameters},
            "required": [parameter.name for parameter in self.parameters if parameter.name in self.required],
        }
        return {"type": "function", "function": {"name": self.name, "description": self.description, "parameters": parameters}}

    @property
    def required(self) -> frozenset[str]:
        """The names of the parameters that no call may leave out."""
        return frozenset.intersection(*(_names(template) for template in self.templates))

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments in the order of the parameters. Raises InvalidCall for an unknown, a missing or a wrong one."""
        self.check_names(arguments)
        try:
            return {part.name: part.check(arguments[part.name]) for part in self.parameters if part.name in arguments}
        except InvalidCall as error:
            raise InvalidCall(f"{self.name}: {error}") from None

    def check_names(self, arguments: Mapping[str, Any]) -> None:
        """Raises InvalidCall for an unknown or a missing argument."""
        known = [parameter.name for parameter in self.parameters]
        if unknown := [name for name in arguments if name not in known]:
            raise InvalidCall(f"{self.name} has no argument {unknown[0][:60]!r}; its arguments: {', '.join(known) or 'none'}")
        if missing := [name for name in known if name in self.required and name not in arguments]:
            raise InvalidCall(f"{self.name} needs {', '.join(missing)}")

    def to_action(self, arguments: Mapping[str, Any]) -> str:
        """The action of a call. Raises InvalidCall."""
        checked = self.check(arguments)
        template = next((template for template in self.templates if _names(template) == checked.keys()), None)
        if template is None:
            raise InvalidCall(f"{self.name}: give all of {', '.join(parameter.name for parameter in self.parameters)}")
        texts = {name: str(int(value)) if isinstance(value, bool) else str(value) for name, value in checked.items()}
        return re.sub(r"\{(\w+)\}", lambda match: texts[match[1]], template)

    def to_arguments(self, action: str) -> dict[str, Any] | None:
        """The arguments whose call gives exactly this action, or None."""
        kinds = {parameter.name: parameter.type for parameter in self.parameters}
        for template in self.templates:
            match = _pattern(template, self.parameters).fullmatch(action)
            if match is None:
                continue
            arguments = {name: _value(text, kinds[name]) for name, text in zip(_ordered(template), match.groups(), strict=True)}
            ordered = {name: arguments[name] for name in kinds if name in arguments}
            try:
                if self.to_action(ordered) == action:
                    return ordered
            except InvalidCall:
                continue
        return None


ACT = Function("act", "Carry out an action.", ("{action}",), (Parameter("action", "the action, as the rules say"),))
"""For environments that declare no functions."""


def function(
    description: str, template: str, *, name: str = "", choices: Mapping[str, Sequence[str]] | None = None, **types: JsonType
) -> Function:
    """A function whose parameters are those of the template; its name is the template's words before the first parameter.

    `types`: the types of parameters that are not strings; `choices`: the values of parameters with few.
    """
    name = name or "_".join(re.findall(r"\w+", template.partition("{")[0]))
    parameters = (
        Parameter(part, type=types.get(part, "string"), choices=tuple((choices or {}).get(part, ()))) for part in _ordered(template)
    )
    return Function(name, description, (template,), tuple(parameters))


def call_of_action(functions: Sequence[Function], action: str) -> tuple[str, dict[str, Any]] | None:
    """(name, arguments) of the first function that gives exactly this action, or None."""
    for candidate in functions:
        arguments = candidate.to_arguments(action)
        if arguments is not None:
            return candidate.name, arguments
    return None


def action_of_call(functions: Sequence[Function], name: str, arguments: Mapping[str, Any]) -> str:
    """The action of a call. Raises InvalidCall, also for an unknown name."""
    for candidate in functions:
        if candidate.name == name:
            return candidate.to_action(arguments)
    raise InvalidCall(f"There is no function {name[:60]!r}; functions: {', '.join(candidate.name for candidate in functions)}")


@lru_cache(maxsize=None)
def _ordered(template: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\{(\w+)\}", template))


def _names(template: str) -> frozenset[str]:
    return frozenset(_ordered(template))


@lru_cache(maxsize=None)
def _pattern(template: str, parameters: tuple[Parameter, ...]) -> re.Pattern[str]:
    """A pattern for the actions of a template, with a group for each parameter in it."""
    groups = {
        parameter.name: f"({'|'.join(map(re.escape, parameter.choices))})" if parameter.choices else _PATTERNS[parameter.type]
        for parameter in parameters
    }
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile("".join(groups[part] if index % 2 else re.escape(part) for index, part in enumerate(parts)), re.DOTALL | re.ASCII)


def _value(text: str, kind: str) -> Any:
    return text == "1" if kind == "boolean" else int(text) if kind == "integer" else text
