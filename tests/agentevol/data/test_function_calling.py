"""Function calling in all environments: expert actions as calls and back, and what the parser reads, refuses and explains."""

from __future__ import annotations

import json
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentevol.data import function_calling
from agentevol.data.action_format import NotConvertible, convert, format_of, parse_action, tools_of
from agentevol.data.experts import play_expert
from agentevol.data.trajectory import Message, Trajectory
from agentevol.gate.replay import replay
from envs import ENVIRONMENTS, environment_class
from envs.base import InvalidAction, TextEnv
from envs.functions import Function, Parameter, action_of_call, call_of_action
from envs.sciworld.games import games

NAMES = sorted(ENVIRONMENTS)
PLAYABLE = [name for name in NAMES if environment_class(name).missing() is None]
SLOW = ("sciworld", "webarena")
OTHERS = ("textcraft-original",)
"""Environments beside the fourteen."""


@cache
def expert_episode(name: str, number: int = 0) -> Trajectory:
    cls = environment_class(name)
    return play_expert(name, (cls.instructions("train") or cls.instructions("eval"))[number])


def call(name: str, **arguments: object) -> str:
    return function_calling.format_call("x", name, arguments)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in (*PLAYABLE, *OTHERS)])
def test_expert_episodes_convert_without_loss_and_replay(name: str) -> None:
    for number in range(1 if name in SLOW else 5):
        original = expert_episode(name, number)
        converted = convert(original, "function_calling")
        assert format_of(converted.messages) == "function_calling"
        assert convert(converted, "react").messages == original.messages
        assert replay(converted) is None
        for message in converted.messages[1::2]:
            value = json.loads(message.content.partition("<tool_call>")[2].removesuffix("</tool_call>"))
            schema = next(tool["function"] for tool in tools_of(converted) or [] if tool["function"]["name"] == value["name"])
            assert set(schema["parameters"]["required"]) <= set(value["arguments"]) <= set(schema["parameters"]["properties"])


def test_every_recorded_action_of_sciworld_is_a_call() -> None:
    functions = environment_class("sciworld").functions
    for action in {action for game in games() for action in game.gold_path}:
        name, arguments = call_of_action(functions, action) or ("", {})
        assert action_of_call(functions, name, json.loads(json.dumps(arguments))) == action


@pytest.mark.parametrize("name", [*NAMES, *OTHERS])
def test_every_environment_describes_its_functions(name: str) -> None:
    cls = environment_class(name)
    names = [tool["function"]["name"] for tool in function_calling.tools(cls)]
    assert len(set(names)) == len(names) > 0
    assert names != ["act"], "an environment of this project has functions of its own"
    assert all(tool["function"]["description"] for tool in function_calling.tools(cls))
    prompt = function_calling.prompt(cls)
    assert prompt.endswith(function_calling.INSTRUCTION)
    assert "Action:" not in prompt
    assert prompt.startswith(cls.prompt[:60])


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("Give twice the number.\nThought: ...\nAction: ...", "Give twice the number."),
        ("Push. Answer in this form:\nThought: ...\nAction: push", "Push."),
        ("Example:\nThought: a\nAction: b\nGo on.", "Example:\nThought: a\nAction: b\nGo on."),
        ("Push.", "Push."),
    ],
)
def test_the_form_at_the_end_of_a_prompt_gives_way(text: str, rules: str) -> None:
    assert function_calling.rules(type("Env", (TextEnv,), {"prompt": text})) == rules


_VALUES = st.text(st.characters(codec="ascii", exclude_characters="[]"), max_size=20)


@given(st.sampled_from(NAMES), st.data())
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_an_action_that_is_read_as_a_call_is_given_back_exactly(name: str, data: st.DataObject) -> None:
    functions = environment_class(name).functions
    function = data.draw(st.sampled_from(functions))
    template = data.draw(st.sampled_from(function.templates))
    action = "".join(part if index % 2 == 0 else data.draw(_VALUES) for index, part in enumerate(_split(template)))
    found = call_of_action(functions, action)
    if found is not None:
        assert action_of_call(functions, *found) == action
        text = function_calling.format_answer(environment_class(name), "I think.", action)
        assert parse_action(environment_class(name), text, "function_calling") == action


def _split(template: str) -> list[str]:
    import re

    return re.split(r"\{\w+\}|(?<=Input: )$", template)


@pytest.mark.parametrize(
    "text",
    [
        'Thought: so\n<tool_call>\n{"name": "take", "arguments": {"object": "mug 1", "receptacle": "desk 1"}}\n</tool_call>',
        '<tool_call>{"name": "take", "arguments": {"object": "mug 1", "receptacle": "desk 1"}}',
        'put? <tool_call>{"name": "look"}</tool_call></think><tool_call>{"name":"take","args":{"object":"mug 1","receptacle":"desk 1"}}',
        '{"name": "take", "parameters": {"receptacle": "desk 1", "object": "mug 1"}}',
        '<|python_tag|>{"name": "take", "parameters": {"object": "mug 1", "receptacle": "desk 1"}}<|eom_id|>',
        'I take it.\n```json\n{"name": "take", "arguments": {"object": "mug 1", "receptacle": "desk 1"}}\n```',
        '[TOOL_CALLS] [{"name": "take", "arguments": {"object": "mug 1", "receptacle": "desk 1"}, "id": "x"}]',
        '{"thought": "so", "function_name": "take", "arguments": {"object": "mug 1", "receptacle": "desk 1"}}',
        '<tool_call>{"function": {"name": "take", "arguments": "{\\"object\\": \\"mug 1\\", \\"receptacle\\": \\"desk 1\\"}"}}</tool_call>',
        2 * '<tool_call>{"name": "take", "arguments": {"object": "mug 1", "receptacle": "desk 1"}}</tool_call>\r\n',
    ],
)
def test_calls_are_read_as_models_write_them(text: str) -> None:
    assert parse_action(environment_class("alfworld"), text, "function_calling") == "take mug 1 from desk 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Thought: so\nAction: look", "Your answer has no function call"),
        ("", "Your answer has no function call"),
        ('<tool_call>{"name": "look", "arguments": {}</tool_call>', "no valid JSON: Expecting ',' delimiter at character"),
        ("<tool_call>look</tool_call>", "no valid JSON"),
        ('<tool_call>{"arguments": {}}</tool_call>', "has no name"),
        ("<tool_call>[1]</tool_call>", "has no name"),
        ('<tool_call>{"name": "look", "arguments": [1]}</tool_call>', "must be a JSON object"),
        ('<tool_call>{"name": "look", "arguments": "x"}</tool_call>', "The arguments of look are no valid JSON"),
        (call("jump"), "There is no function 'jump'; functions: go_to, open"),
        (call("take", object="mug 1"), "take needs receptacle"),
        (call("take", object="mug 1", receptacle="desk 1", hand=1), "take has no argument 'hand'; its arguments: object, receptacle"),
        (call("go_to", receptacle=["desk 1"]), "go_to: receptacle must be text"),
        (call("look") + call("inventory"), "2 different calls: look, inventory"),
        (call("\u2603"), "There is no function '?'"),
        ("<tool_call>" + "[" * 100_000, "too deeply nested"),
    ],
)
def test_a_wrong_call_is_explained_to_the_policy(text: str, message: str) -> None:
    with pytest.raises(InvalidAction) as error:
        parse_action(environment_class("alfworld"), text, "function_calling")
    assert message in str(error.value)
    assert str(error.value).endswith(function_calling.CALL_FORM)
    assert str(error.value).isascii()


def test_types_and_choices_are_checked() -> None:
    cls = environment_class("textcraft")
    assert parse_action(cls, call("get", count="2", item="oak log"), "function_calling") == "get 2 oak log"
    for function, arguments, message in (
        ("get", {"count": 2.5, "item": "oak log"}, "get: count must be a whole number"),
        ("get", {"count": True, "item": "oak log"}, "get: count must be a whole number"),
    ):
        with pytest.raises(InvalidAction, match=message):
            parse_action(cls, call(function, **arguments), "function_calling")
    with pytest.raises(InvalidAction, match="move: direction must be one of up, down, left, right"):
        parse_action(environment_class("maze"), call("move", direction="north"), "function_calling")


def test_parameters_may_be_left_out() -> None:
    cls = environment_class("webarena")
    assert parse_action(cls, call("stop"), "function_calling") == "stop"
    assert parse_action(cls, call("stop", answer="$12.34"), "function_calling") == "stop [$12.34]"
    assert parse_action(cls, call("type", id=7, text="a [b]", press_enter=True), "function_calling") == "type [7] [a [b]] [1]"
    assert call_of_action(cls.functions, "type [7] [lamp]") == ("type", {"id": 7, "text": "lamp"})
    with pytest.raises(InvalidAction, match="type needs text"):
        parse_action(cls, call("type", id=7), "function_calling")


def test_what_cannot_be_converted_is_refused_by_name() -> None:
    original = expert_episode("maze")
    answers = [Message("assistant", "Action: move up", True), Message("assistant", "Thought: x\nAction: fly", True)]
    for answer in answers:
        changed = Trajectory(
            **{**{name: getattr(original, name) for name in Trajectory.__slots__}, "messages": [original.messages[0], answer]}
        )
        with pytest.raises(NotConvertible, match=original.item_id):
            convert(changed, "function_calling")


def test_a_function_gives_only_its_own_actions() -> None:
    function = Function("pour", "", ("pour {thing} into {container}",), (Parameter("thing"), Parameter("container")))
    assert function.to_arguments("pour water into cup into sink") == {"thing": "water", "container": "cup into sink"}
    assert function.to_arguments("pour water") is None
