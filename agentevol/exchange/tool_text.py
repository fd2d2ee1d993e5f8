"""Conversations with a system message and tool calls as text that alternates between user and assistant, and back.

A policy here reads and writes text only. The system message and the tools stand before the first user message, calls behind the text of an
answer, results in the next user message, between marks: <system>, <tools>, <tool_call>, <tool_response>. The last three are those that
chat templates of open models with tools (Hermes, Qwen) write.

Invariant: `from_text(to_text(conversation)) == conversation`; `to_text` refuses a conversation for which this does not hold, such as one
whose texts have the marks in them. And `to_text(from_text(messages)) == messages`: what `to_text` would write differently stays text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from agentevol.data.formats import FormatError
from agentevol.data.trajectory import Message

_HEADER = re.compile(r"\A(?:<system>\n(.+?)\n</system>\n\n)?(?:<tools>\n(.+?)\n</tools>\n\n)?(.*)\Z", re.DOTALL)
_CALLS = re.compile(r"(?:\A|\n)(<tool_call>\n[^\n]*\n</tool_call>(?:\n<tool_call>\n[^\n]*\n</tool_call>)*)\Z")
_CALL = re.compile(r"<tool_call>\n([^\n]*)\n</tool_call>")
_RESULT = re.compile(r"<tool_response>\n(.*?)\n</tool_response>(?:\n(?=.)|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool by its name, with its arguments as a JSON object."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """A message. `calls`: those of an assistant message. A message of the role `tool` is the result of the call at its place."""

    role: Literal["user", "assistant", "tool"]
    content: str
    calls: tuple[ToolCall, ...] = ()
    loss: bool | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation in the form of a chat API: the system message, the tools' descriptions as they were given, and the messages."""

    turns: list[Turn]
    system: str | None = None
    tools: list[dict[str, Any]] = field(default_factory=list)


def to_text(conversation: Conversation, *, with_calls: bool = True) -> list[Message]:
    """The conversation as messages that alternate, beginning with the user. `with_calls` as in `from_text`. Raises FormatError."""
    messages: list[Message] = []
    group: list[str] = []  # the parts of the next user message: results, then what the user says
    previous = "assistant"
    for number, turn in enumerate(conversation.turns):
        where = f"message {number + 1}"
        if turn.role == "assistant":
            if previous == "assistant":
                raise FormatError(
                    f"{where}: an assistant message {'first' if number == 0 else 'after another one'}; allowed: after the user's"
                )
            messages.append(Message("user", "\n".join(group)))
            group = []
            messages.append(Message("assistant", _answer_text(turn), True if turn.loss is None else turn.loss))
        elif turn.role == "tool":
            if previous == "user" or not messages:
                raise FormatError(f"{where}: a tool's result that follows no call; allowed: directly after the message with the call")
            group.append(f"<tool_response>\n{turn.content}\n</tool_response>")
        elif previous == "user":
            raise FormatError(f"{where}: a user message after another one; allowed: one, or the assistant's answer between them")
        else:
            group.append(turn.content)
        previous = turn.role
    if group:
        messages.append(Message("user", "\n".join(group)))
    if not messages:
        raise FormatError("no message besides the system message; allowed: at least one of the user")
    messages[0] = Message("user", _header(conversation) + messages[0].content)
    if from_text(messages, with_calls=with_calls) != _normalized(conversation):
        raise FormatError("a text has the marks <system>, <tools>, <tool_call> or <tool_response> in it; allowed: texts without them")
    return messages


def from_text(messages: Sequence[Message], *, with_calls: bool = True) -> Conversation:
    """The conversation that a list of messages stands for. Text without marks stays text.

    with_calls: False leaves tools, calls and results as the text that they are, and takes out the system message only.
    """
    turns: list[Turn] = []
    system: str | None = None
    tools: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        content = message.content
        if index == 0 and message.role == "user":
            system, tools, content = _read_header(content, with_calls)
        if message.role == "assistant":
            content, calls = _read_calls(content) if with_calls else (content, ())
            turns.append(Turn("assistant", content, calls, message.loss))
        else:
            turns += _read_results(content, turns[-1].calls) if turns and turns[-1].calls else [Turn("user", content)]
    return Conversation(turns, system, tools)


def _normalized(conversation: Conversation) -> Conversation:
    turns = [
        Turn(turn.role, turn.content, turn.calls, (True if turn.loss is None else turn.loss) if turn.role == "assistant" else None)
        for turn in conversation.turns
    ]
    return Conversation(turns, conversation.system, conversation.tools)


def _header(conversation: Conversation) -> str:
    header = f"<system>\n{conversation.system}\n</system>\n\n" if conversation.system is not None else ""
    if conversation.tools:
        header += "<tools>\n" + "\n".join(_json(tool) for tool in conversation.tools) + "\n</tools>\n\n"
    return header


def _read_header(content: str, with_calls: bool) -> tuple[str | None, list[dict[str, Any]], str]:
    match = _HEADER.match(content)
    assert match is not None  # every part of the pattern may be empty
    system, tools, rest = match.groups()
    if tools is None:
        return system, [], rest
    try:
        described = [json.loads(line) for line in tools.split("\n")] if with_calls else []
    except (ValueError, RecursionError):
        described = []
    if not all(isinstance(tool, dict) for tool in described) or "\n".join(map(_json, described)) != tools:
        return system, [], content[match.start(2) - len("<tools>\n") :]
    return system, described, rest


def _answer_text(turn: Turn) -> str:
    calls = [_call_text(call) for call in turn.calls]
    return "\n".join([turn.content, *calls] if turn.content or not calls else calls)


def _call_text(call: ToolCall) -> str:
    return f"<tool_call>\n{_json({'name': call.name, 'arguments': call.arguments})}\n</tool_call>"


def _read_calls(content: str) -> tuple[str, tuple[ToolCall, ...]]:
    match = _CALLS.search(content)
    if match is None:
        return content, ()
    try:
        found = [json.loads(text) for text in _CALL.findall(match[1])]
    except (ValueError, RecursionError):
        return content, ()
    if not all(isinstance(call, dict) and isinstance(call.get("name"), str) and isinstance(call.get("arguments"), dict) for call in found):
        return content, ()
    calls = tuple(ToolCall(call["name"], call["arguments"]) for call in found)
    if "\n".join(map(_call_text, calls)) != match[1]:
        return content, ()
    return content[: match.start()], calls


def _read_results(content: str, calls: Sequence[ToolCall]) -> list[Turn]:
    results: list[Turn] = []
    position = 0
    while len(results) < len(calls) and (match := _RESULT.match(content, position)):
        results.append(Turn("tool", match[1]))
        position = match.end()
    rest = content[position:]
    return [*results, Turn("user", rest)] if rest or not results else results


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
