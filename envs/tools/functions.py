"""Tools as functions for policies that call functions: the text of a call is `name with Action Input: {...}`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_origin

from envs.functions import Function, JsonType, Parameter
from envs.tools.arguments import InvalidArguments, as_json, parse_arguments

_TYPES: dict[Any, JsonType] = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array"}


@dataclass(frozen=True, slots=True)
class ToolFunction(Function):
    """A tool. `required_names`: its parameters without a default. The environment itself converts the types of arguments."""

    required_names: frozenset[str] = frozenset()

    @property
    def required(self) -> frozenset[str]:
        return self.required_names

    def to_action(self, arguments: Mapping[str, Any]) -> str:
        self.check_names(arguments)
        return f"{self.templates[0]}{as_json(dict(arguments))}"

    def to_arguments(self, action: str) -> dict[str, Any] | None:
        if not action.startswith(self.templates[0]):
            return None
        try:
            arguments = parse_arguments(action.removeprefix(self.templates[0]))
        except InvalidArguments:
            return None
        return arguments if f"{self.templates[0]}{as_json(arguments)}" == action else None


def tool_function(name: str, description: str, signature: inspect.Signature) -> ToolFunction:
    """The function of a tool's method."""
    parameters = list(signature.parameters.values())[1:]
    return ToolFunction(
        name,
        f"{description[:1].upper()}{description[1:]}.",
        (f"{name} with Action Input: ",),
        tuple(
            Parameter(parameter.name, type=_TYPES.get(get_origin(parameter.annotation) or parameter.annotation, "any"))
            for parameter in parameters
        ),
        frozenset(parameter.name for parameter in parameters if parameter.default is parameter.empty),
    )
