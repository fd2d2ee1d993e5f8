"""Answers that call a function: their text, their parser, and the functions that a conversation offers.

The text is `Thought: ...` and `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, which Hermes and Qwen templates write for a call.
Invariant: `parse_call(format_call(thought, name, arguments))` gives the name and the arguments; a text is never evaluated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from envs.base import InvalidAction, TextEnv
from envs.checks import replace_surrogates
from envs.functions import InvalidCall, action_of_call, call_of_action
from envs.printable import printable_line

INSTRUCTION = "Answer with one thought and one function call each turn."
"""The last line of a prompt for function calling. A conversation whose first message has it is one of this format."""
CALL_FORM = 'Thought: ...\n<tool_call>\n{"name": "...", "arguments": {...}}\n</tool_call>'

_CALL_START, _CALL_END = "<tool_call>", "</tool_call>"
_OTHER_STARTS = ("[TOOL_CALLS]", "<|python_tag|>", "<function_call>", "```json", "```")
_NAME_KEYS, _ARGUMENTS_KEYS = ("name", "function_name"), ("arguments", "parameters", "args")
_REACT_FORM = re.compile(
    r"\s*(?:Answer (?:in this form|with one thought and one \w+ each turn):[ \t]*\n)?Thought:[^\n]*\n+Action:[^\n]*\s*\Z"
)
_DECODER = json.JSONDecoder()
_MAX_CALLS = 16

Call = tuple[str, dict[str, Any]]


class NotACall(ValueError):
    """An answer that no function of the environment can give, so it cannot be written in this format."""


def rules(env: type[TextEnv] | TextEnv) -> str:
    """The environment's prompt without the ReAct form of an answer at its end."""
    return _REACT_FORM.sub("", env.prompt)


def prompt(env: type[TextEnv] | TextEnv) -> str:
    """The environment's prompt with this format's instruction in place of the ReAct form of an answer."""
    return f"{rules(env)}\n{INSTRUCTION}"


def tools(env: type[TextEnv] | TextEnv) -> list[dict[str, Any]]:
    """The environment's functions as chat templates and OpenAI-compatible servers take them."""
    return [function.schema() for function in env.functions]


def tools_text(schemas: Sequence[Mapping[str, Any]]) -> str:
    """The functions as text, for a chat template that knows none. It precedes the first user message."""
    lines = "\n".join(json.dumps(schema["function"], ensure_ascii=False) for schema in schemas)
    return f"Functions, one JSON object each:\n{lines}\nCall a function in this form:\n{CALL_FORM}\n\n"


def format_call(thought: str, name: str, arguments: dict[str, Any]) -> str:
    """An answer with one call."""
    return f"Thought: {thought}\n{call_text(name, arguments)}"


def call_text(name: str, arguments: Any) -> str:
    return f"{_CALL_START}\n{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=False)}\n{_CALL_END}"


def format_answer(env: type[TextEnv] | TextEnv, thought: str, action: str) -> str:
    """An answer whose call gives exactly this action. Raises NotACall."""
    return format_call(thought, *call_giving(env, action))


def call_giving(env: type[TextEnv] | TextEnv, action: str) -> Call:
    """The call that gives exactly this action. Raises NotACall."""
    call = call_of_action(env.functions, action)
    if call is None:
        raise NotACall(f"{env.name}: no function gives the action {action[:100]!r}; declare one in the environment's `functions`")
    return call


def parse_action(env: type[TextEnv] | TextEnv, text: str) -> str:
    """The action of the one call in an answer. Raises InvalidAction, whose message tells the policy what was understood."""
    return action_given_by(env, parse_call(text), _remedy())


def action_given_by(env: type[TextEnv] | TextEnv, call: Call, remedy: str) -> str:
    """The action of a call. Raises InvalidAction with the reason and `remedy`, what the policy should write."""
    try:
        return replace_surrogates(action_of_call(env.functions, *call))
    except InvalidCall as error:
        raise InvalidAction(f"{printable_line(str(error))}. {remedy}") from None


def parse_call(text: str) -> Call:
    """The one call in an answer: (name, arguments). Raises InvalidAction.

    Models also write a JSON object without marks, in a fence, or after the marks of other families ([TOOL_CALLS], <|python_tag|>), and
    `parameters` for `arguments`. Thoughts before </think> do not count; the same call given twice is one call.
    """
    visible = text.rpartition("</think>")[2]
    calls: list[Call] = []
    for value in _objects(visible):
        call = _read_call(value)
        if call not in calls:
            calls.append(call)
    if len(calls) == 1:
        return calls[0]
    if not calls:
        raise InvalidAction(f"Your answer has no function call. {_remedy()}")
    raise InvalidAction(
        f"Your answer has {len(calls)} different calls: {printable_line(', '.join(name[:60] for name, _ in calls[:3]))}. {_remedy()}"
    )


def call_in(text: str) -> Call | None:
    """The one call in an answer, of whatever function; None if it has none, or several."""
    try:
        return parse_call(text)
    except InvalidAction:
        return None


def has_call(text: str) -> bool:
    """Whether an answer has exactly one call, of whatever function."""
    return call_in(text) is not None


def _objects(text: str) -> Iterator[Any]:
    """The JSON values that are meant as calls. Raises InvalidAction where one is marked as a call and is no JSON."""
    if _CALL_START in text:
        for part in text.split(_CALL_START)[1 : _MAX_CALLS + 1]:
            yield from _values(part.partition(_CALL_END)[0])
        return
    for other_start in _OTHER_STARTS:
        _, mark, rest = text.partition(other_start)
        if mark and rest.lstrip()[:1] in ("{", "["):
            yield from _values(rest)
            return
    start = next((match.start() for match in re.finditer(r"^[ \t]*[{\[]", text, re.MULTILINE)), -1)
    if start >= 0:
        yield from _values(text[start:])


def _values(text: str) -> list[Any]:
    try:
        value, _ = _DECODER.raw_decode(text.strip().removeprefix("```json").strip("`").strip())
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else "it is too deeply nested"
        raise InvalidAction(f"Your function call is no valid JSON: {reason}. {_remedy()}") from None
    return value[:_MAX_CALLS] if isinstance(value, list) else [value]


def _read_call(value: Any) -> Call:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]  # OpenAI's form
    name = next((value[key] for key in _NAME_KEYS if key in value), None) if isinstance(value, dict) else None
    if not isinstance(name, str):
        raise InvalidAction(f"Your function call has no name. {_remedy()}")
    arguments: Any = next((value[key] for key in _ARGUMENTS_KEYS if key in value), {})
    if isinstance(arguments, str):  # some models write the arguments as JSON within JSON
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            raise InvalidAction(f"The arguments of {printable_line(name)[:60]} are no valid JSON. {_remedy()}") from None
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise InvalidAction(f"The arguments of {printable_line(name)[:60]} must be a JSON object. {_remedy()}")
    return name, arguments


def _remedy() -> str:
    return f"Give exactly one function call, in the form:\n{CALL_FORM}"
