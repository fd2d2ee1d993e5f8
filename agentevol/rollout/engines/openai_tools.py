"""Function calls in OpenAI's chat protocol: answers of this project as messages with `tool_calls`, and a server's reply as such an answer.

Invariant: `answer_text` of a message that `chat_messages` wrote has the same call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agentevol.data.function_calling import call_in, call_text, tools_text
from agentevol.data.trajectory import Message

Tools = Sequence[Mapping[str, Any]]


def chat_messages(messages: Sequence[Message], tools: Tools | None) -> list[dict[str, Any]]:
    """The conversation as the protocol writes it. `tools`: the functions that the request offers, None if it offers none.

    An answer with one call has it in `tool_calls`, and the observation after it is the result of that call (role `tool`).
    """
    written: list[dict[str, Any]] = []
    open_call = None
    for index, message in enumerate(messages):
        call = call_in(message.content) if tools is not None and message.role == "assistant" else None
        if call is not None:
            open_call = f"call{index:05d}"  # nine letters and digits, as Mistral's servers want it
            function = {"name": call[0], "arguments": json.dumps(call[1], ensure_ascii=False)}
            content = message.content.partition("<tool_call>")[0].rstrip()
            calls = [{"id": open_call, "type": "function", "function": function}]
            written.append({"role": "assistant", "content": content, "tool_calls": calls})
        elif open_call is not None and message.role == "user":
            written.append({"role": "tool", "tool_call_id": open_call, "content": message.content})
            open_call = None
        else:
            written.append({"role": message.role, "content": message.content})
    return written


def plain_messages(messages: Sequence[Message], tools: Tools) -> list[dict[str, Any]]:
    """The conversation for a chat template that knows no functions: they stand before the first message, calls are text."""
    first, *rest = ({"role": message.role, "content": message.content} for message in messages)
    return [{**first, "content": tools_text(tools) + first["content"]}, *rest]


def answer_text(message: Mapping[str, Any]) -> str | None:
    """The text of a reply's message, with its `tool_calls` in this project's form; None if it is no message of the protocol."""
    content, calls = message.get("content") or "", message.get("tool_calls") or []
    if not isinstance(content, str) or not isinstance(calls, list):
        return None
    texts = [content] if content.strip() else []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            return None
        texts.append(call_text(str(function.get("name")), _arguments(function.get("arguments"))))
    return "\n".join(texts).strip()


def _arguments(arguments: Any) -> Any:
    """The arguments as a JSON value; text that is not valid JSON stays text, and the next observation explains the mistake."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments
