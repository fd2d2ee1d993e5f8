"""The `messages` of chat APIs in rows, as TRL and xLAM write them: roles, contents, tool calls and their results.

A call is {"type": "function", "function": {"name", "arguments"}}, a result a message of the role `tool`. TRL writes the arguments as an
object, OpenAI as JSON text; both are read, objects are written. Ids of calls are read only to find the call that a result belongs to:
they are not kept, because the order of the results says the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from agentevol.data.formats import FormatError
from agentevol.exchange.tool_text import Conversation, ToolCall, Turn

_ROLES = ("system", "user", "assistant", "tool")


def read_conversation(
    messages: Any, tools: Any = None, *, loss: Any = None, system: str | None = None, key: str = "messages"
) -> Conversation:
    """A conversation from a row's messages. `loss`: one entry per message; `system`: the system message, if it has a field of its own.

    Raises FormatError, which names the field, what was given and what is allowed.
    """
    if not isinstance(messages, list) or not messages:
        raise field_error(key, messages, "a list of messages that is not empty")
    if loss is not None and (not isinstance(loss, list) or len(loss) != len(messages)):
        raise field_error("loss", loss, f"a list with one entry for each of the {len(messages)} messages")
    turns: list[Turn] = []
    ids: list[Any] = []  # of the last message's calls
    results: list[tuple[int, Turn]] = []
    for index, message in enumerate(messages):
        where = f"{key}.{index}"
        if not isinstance(message, dict):
            raise field_error(where, message, "an object with role and content")
        role = message.get("role")
        if role not in _ROLES:
            raise field_error(f"{where}.role", role, ", ".join(_ROLES))
        content = _content(message, where)
        if role == "system":
            if index or system is not None:
                raise field_error(f"{where}.role", role, "one system message, before all others")
            system = content or None
            continue
        if role == "tool":
            results.append((_place(message, turns, ids, len(results), where), Turn("tool", content)))
            continue
        turns += _in_order(results, turns, where)
        calls, ids = _read_calls(message, where) if role == "assistant" else ((), [])
        flag = loss[index] if loss is not None else None
        if flag is not None and not isinstance(flag, bool):
            raise field_error(f"loss.{index}", flag, "true, false or null")
        turns.append(Turn(role, content, calls, flag if role == "assistant" else None))
        results = []
    turns += _in_order(results, turns, f"{key}.{len(messages) - 1}")
    return Conversation(turns, system, read_tools(tools))


def write_messages(conversation: Conversation, *, with_system: bool = True) -> tuple[list[dict[str, Any]], list[bool | None]]:
    """The messages of a row, and their loss. `with_system`: False where the system message has a field of its own."""
    messages: list[dict[str, Any]] = []
    loss: list[bool | None] = []
    if with_system and conversation.system is not None:
        messages.append({"role": "system", "content": conversation.system})
        loss.append(None)
    names: list[str] = []
    for turn in conversation.turns:
        message: dict[str, Any] = {"role": turn.role, "content": turn.content}
        if turn.calls:
            message["tool_calls"] = [
                {"type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in turn.calls
            ]
        if turn.role == "tool":
            message["name"] = names.pop(0)
        else:
            names = [call.name for call in turn.calls]
        messages.append(message)
        loss.append(turn.loss)
    return messages, loss


def read_calls(calls: Any, where: str) -> tuple[tuple[ToolCall, ...], list[Any]]:
    """Tool calls, and their ids or None. A call is {"function": {"name", "arguments"}}, or {"name", "arguments"} itself."""
    calls = parse_json(calls, where)
    if not isinstance(calls, list) or not calls:
        raise field_error(where, calls, "a list of calls that is not empty")
    read, ids = [], []
    for index, entry in enumerate(calls):
        function = entry.get("function", entry) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(function, dict):
            raise field_error(f"{where}.{index}", entry, "an object with name and arguments, or with function")
        name = function.get("name")
        if not isinstance(name, str) or not name:
            raise field_error(f"{where}.{index}.name", name, "the name of a function")
        arguments = parse_json(function.get("arguments", {}), f"{where}.{index}.arguments")
        if not isinstance(arguments, dict):
            raise field_error(f"{where}.{index}.arguments", arguments, "an object, or one as JSON text")
        read.append(ToolCall(name, arguments))
        ids.append(entry.get("id"))
    return tuple(read), ids


def read_tools(tools: Any) -> list[dict[str, Any]]:
    """The descriptions of tools, each an object; JSON text of the list or of its entries is read, too."""
    tools = parse_json(tools, "tools") or []
    if not isinstance(tools, list):
        raise field_error("tools", tools, "a list of objects")
    described = [parse_json(tool, f"tools.{index}") for index, tool in enumerate(tools)]
    for index, tool in enumerate(described):
        if not isinstance(tool, dict):
            raise field_error(f"tools.{index}", tool, "an object, such as a function's JSON schema")
    return cast(list[dict[str, Any]], described)


def parse_json(value: Any, where: str) -> Any:
    """The value itself, or what its text holds: several projects write nested values as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise field_error(where, value, "valid JSON") from None


def _content(message: dict[str, Any], where: str) -> str:
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        return ""
    if not isinstance(content, str):
        raise field_error(f"{where}.content", content, "text")
    return content


def _read_calls(message: dict[str, Any], where: str) -> tuple[tuple[ToolCall, ...], list[Any]]:
    calls = message.get("tool_calls")
    return ((), []) if calls is None or calls == [] else read_calls(calls, f"{where}.tool_calls")


def _place(message: dict[str, Any], turns: Sequence[Turn], ids: Sequence[Any], count: int, where: str) -> int:
    """Which call of the message before it a result belongs to: by its id, else in order."""
    calls = turns[-1].calls if turns else ()
    if not calls:
        raise field_error(f"{where}.role", "tool", "a result only after an assistant message with tool_calls")
    call_id = message.get("tool_call_id")
    if call_id is not None and any(ids):
        if call_id not in ids:
            raise field_error(f"{where}.tool_call_id", call_id, f"the id of a call before it: {', '.join(map(str, ids))}")
        place = list(ids).index(call_id)
    else:
        place = count
    if place < len(calls) and (name := message.get("name")) not in (None, "", calls[place].name):
        raise field_error(f"{where}.name", name, f"{calls[place].name}, the function that was called")
    return place


def _in_order(results: list[tuple[int, Turn]], turns: Sequence[Turn], where: str) -> list[Turn]:
    """The results in the order of the calls. Every call has one, or none has: the order alone would not show a gap."""
    if results and sorted(place for place, _ in results) != list(range(len(turns[-1].calls))):
        raise FormatError(f"{where}: {len(results)} results for {len(turns[-1].calls)} calls before it; allowed: one for each, or none")
    return [turn for _, turn in sorted(results, key=lambda entry: entry[0])]


def field_error(where: str, given: Any, allowed: str) -> FormatError:
    """The error of a field of a row: what was given, in one short line, and what is allowed."""
    shown = repr(given)
    return FormatError(f"{where}: {shown if len(shown) <= 80 else shown[:77] + '...'} given; allowed: {allowed}")
