"""The formats in which a policy gives its actions, and the conversion of a trajectory from one to another.

Invariant: the first message of a conversation tells its format, so a trajectory can be replayed, tokenized and converted by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agentevol.data import code_action, function_calling, react
from agentevol.data.trajectory import Message, Trajectory
from agentevol.settings.agent import ActionFormat
from envs.base import InvalidAction, Step, TextEnv
from envs.registry import environment_class, is_registered

_REACT_ANSWER = re.compile(r"Thought: (.*?)\nAction: (.*)", re.DOTALL)


class NotConvertible(ValueError):
    """A trajectory that cannot be written in another format without loss."""


def prompt(env: type[TextEnv] | TextEnv, action_format: ActionFormat) -> str:
    """The text before the first observation."""
    if action_format == "react":
        return env.prompt
    return code_action.prompt(env) if action_format == "code" else function_calling.prompt(env)


def tools(env: type[TextEnv] | TextEnv, action_format: ActionFormat) -> list[dict[str, Any]] | None:
    """The functions for a chat template or a server; None if the prompt has all that the policy needs."""
    return function_calling.tools(env) if action_format == "function_calling" else None


def format_answer(env: type[TextEnv] | TextEnv, thought: str, action: str, action_format: ActionFormat) -> str:
    """An answer. Raises NotACall for an action that no function of the environment gives."""
    if action_format == "react":
        return react.format_answer(thought, action)
    if action_format == "code":
        return code_action.format_answer(env, thought, action)
    return function_calling.format_answer(env, thought, action)


def parse_action(env: type[TextEnv] | TextEnv, text: str, action_format: ActionFormat) -> str:
    """The action in an answer. Raises InvalidAction, whose message is for the policy."""
    if action_format == "react":
        return env.parse_action(text)
    return code_action.parse_action(env, text) if action_format == "code" else function_calling.parse_action(env, text)


def play_answer(env: TextEnv, text: str, action_format: ActionFormat) -> Step:
    """One round with a policy's answer. Text without an action costs a round, and its observation explains it."""
    if action_format == "react":
        return env.answer(text)
    try:
        action = parse_action(env, text, action_format)
    except InvalidAction as error:
        return env.refuse(str(error))
    return env.step(action)


def format_of(messages: Sequence[Message]) -> ActionFormat:
    """The format of a conversation."""
    first = messages[0].content if messages else ""
    if function_calling.INSTRUCTION in first:
        return "function_calling"
    return "code" if code_action.INSTRUCTION in first else "react"


def tools_of(trajectory: Trajectory) -> list[dict[str, Any]] | None:
    """The functions that a trajectory's policy was given apart from the prompt. A conversation of no registered environment has none."""
    action_format = format_of(trajectory.messages)
    return tools(environment_class(trajectory.env), action_format) if is_registered(trajectory.env) else None


def convert(trajectory: Trajectory, action_format: ActionFormat) -> Trajectory:
    """The same episode in another format, without the token ids of the first. Converting back gives the original messages.

    Raises NotConvertible if an answer is not in the form that the project's experts write, or no function gives its action.
    """
    source = format_of(trajectory.messages)
    if source == action_format:
        return trajectory
    env = environment_class(trajectory.env)
    old_prompt, new_prompt = prompt(env, source), prompt(env, action_format)
    first = trajectory.messages[0]
    if not first.content.startswith(old_prompt):
        raise NotConvertible(f"{trajectory.item_id}: its first message does not begin with the prompt of {trajectory.env}")
    messages = [replace(first, content=new_prompt + first.content.removeprefix(old_prompt))]
    for message in trajectory.messages[1:]:
        if message.role == "assistant":
            message = replace(message, content=_convert_answer(env, message.content, source, action_format, trajectory.item_id))
        messages.append(message)
    return replace(trajectory, messages=messages, token_ids=None, loss_mask=None, token_logprobs=None, tokens=0)


def _convert_answer(env: type[TextEnv], text: str, source: ActionFormat, target: ActionFormat, item_id: str) -> str:
    try:
        thought, action = _split_answer(env, text, source)
        converted = format_answer(env, thought, action, target)
        if format_answer(env, thought, parse_action(env, converted, target), source) == text:
            return converted
    except ValueError as error:
        raise NotConvertible(f"{item_id}: {error}") from None
    raise NotConvertible(f"{item_id}: the answer {text[:100]!r} cannot be written as {target} without loss")


def _split_answer(env: type[TextEnv], text: str, action_format: ActionFormat) -> tuple[str, str]:
    """(thought, action) of an answer in the form that `format_answer` writes."""
    if action_format == "react":
        match = _REACT_ANSWER.fullmatch(text)
        return (match[1], match[2]) if match else ("", "")
    mark = "\n```python\n" if action_format == "code" else "\n<tool_call>\n"
    return text.partition(mark)[0].removeprefix("Thought: "), parse_action(env, text, action_format)
