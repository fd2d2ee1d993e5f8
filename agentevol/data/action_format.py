"""The formats in which a policy gives its actions, and the conversion of a trajectory from one to another.

Invariant: the first message of a conversation tells its format, so a trajectory can be replayed, tokenized and converted by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agentevol.data import function_calling, react
from agentevol.data.trajectory import Message, Trajectory
from agentevol.settings.agent import ActionFormat
from envs.base import InvalidAction, Step, TextEnv
from envs.registry import environment_class, is_registered

_REACT_ANSWER = re.compile(r"Thought: (.*?)\nAction: (.*)", re.DOTALL)


class NotConvertible(ValueError):
    """A trajectory that cannot be written in another format without loss."""


def prompt(env: type[TextEnv] | TextEnv, action_format: ActionFormat) -> str:
    """What precedes the first observation."""
    return env.prompt if action_format == "react" else function_calling.prompt(env)


def tools(env: type[TextEnv] | TextEnv, action_format: ActionFormat) -> list[dict[str, Any]] | None:
    """The functions that the policy is offered, None where it writes its actions as text."""
    return None if action_format == "react" else function_calling.tools(env)


def format_answer(env: type[TextEnv] | TextEnv, thought: str, action: str, action_format: ActionFormat) -> str:
    """An answer. Raises NotACall for an action that no function of the environment gives."""
    if action_format == "react":
        return react.format_answer(thought, action)
    return function_calling.format_answer(env, thought, action)


def parse_action(env: type[TextEnv] | TextEnv, text: str, action_format: ActionFormat) -> str:
    """The action in an answer. Raises InvalidAction, whose message is for the policy."""
    return env.parse_action(text) if action_format == "react" else function_calling.parse_action(env, text)


def play_answer(env: TextEnv, text: str, action_format: ActionFormat) -> Step:
    """One round with a policy's answer. Text without an action costs a round, and its observation explains it."""
    if action_format == "react":
        return env.answer(text)
    try:
        action = function_calling.parse_action(env, text)
    except InvalidAction as error:
        return env.refuse(str(error))
    return env.step(action)


def format_of(messages: Sequence[Message]) -> ActionFormat:
    """The format of a conversation."""
    has_instruction = bool(messages) and function_calling.INSTRUCTION in messages[0].content
    return "function_calling" if has_instruction else "react"


def tools_of(trajectory: Trajectory) -> list[dict[str, Any]] | None:
    """The functions that a trajectory's policy was offered. A conversation of no registered environment has none."""
    action_format = format_of(trajectory.messages)
    if action_format == "react" or not is_registered(trajectory.env):
        return None
    return tools(environment_class(trajectory.env), action_format)


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
    return replace(trajectory, messages=messages, token_ids=None, loss_mask=None, tokens=0)


def _convert_answer(env: type[TextEnv], text: str, source: ActionFormat, target: ActionFormat, item_id: str) -> str:
    if source == "react":
        match = _REACT_ANSWER.fullmatch(text)
        thought, action = (match[1], match[2]) if match else ("", "")
    else:
        thought = text.partition("\n<tool_call>")[0].removeprefix("Thought: ")
        action = function_calling.parse_action(env, text)
    try:
        converted = format_answer(env, thought, action, target)
        if format_answer(env, thought, parse_action(env, converted, target), source) == text:
            return converted
    except ValueError as error:
        raise NotConvertible(f"{item_id}: {error}") from None
    raise NotConvertible(f"{item_id}: the answer {text[:100]!r} cannot be written as {target} without loss")
