"""Calls in Python: expert episodes convert without loss, and code is parsed, explained, and never evaluated."""

from __future__ import annotations

import pytest

from agentevol.data.action_format import convert, format_of, parse_action, play_answer, tools_of
from agentevol.data.code_action import CODE_FORM, prompt
from agentevol.gate.replay import replay
from envs import environment_class, make
from envs.base import InvalidAction
from tests.agentevol.data.test_function_calling import PLAYABLE, SLOW, expert_episode

ALFWORLD = environment_class("alfworld")
TAKE = "take mug 1 from desk 1"


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in PLAYABLE])
def test_expert_episodes_convert_without_loss_and_replay(name: str) -> None:
    for number in range(1 if name in SLOW else 3):
        original = expert_episode(name, number)
        converted = convert(original, "code")
        assert (format_of(converted.messages), tools_of(converted)) == ("code", None)
        assert convert(converted, "react").messages == original.messages
        assert convert(convert(original, "function_calling"), "code").messages == converted.messages
        assert replay(converted) is None


def test_the_prompt_has_the_functions_as_signatures() -> None:
    text = prompt(environment_class("maze"))
    assert "\nmove(direction: 'up' | 'down' | 'left' | 'right')  # Move one cell.\n" in text
    assert text.endswith(CODE_FORM)
    assert "type(id: int, text: str, press_enter: bool = None)" in prompt(environment_class("webarena"))


@pytest.mark.parametrize(
    "text",
    [
        'Thought: so\n```python\ntake(object="mug 1", receptacle="desk 1")\n```',
        "```python\ntake('mug 1', 'desk 1')  # the mug\n```",
        "```\nresult = take('mug 1', receptacle='desk 1')\n```\nI wait.",
        "```py\r\nprint(take('mug 1', 'desk 1'))\r\n",
        "Thought: so\ntake('mug 1', 'desk 1')",
        "<think>```python\nlook()\n```</think>```python\ntake('mug 1', 'desk 1')\ntake('mug 1', 'desk 1')\n```",
    ],
)
def test_calls_are_read_as_models_write_them(text: str) -> None:
    assert parse_action(ALFWORLD, text, "code") == TAKE


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "Your answer has no call of a function"),
        ("take('mug 1', 'desk 1'", "Your code is no valid Python in line"),
        ("__import__('os').system('true')", "There is no function"),
        ("jump()", "There is no function 'jump'; functions: go_to"),
        ("take('mug 1', open('/etc/passwd').read())", "take: receptacle must be a constant"),
        ("take('mug 1', receptacle)", "take: receptacle must be a constant"),
        ("take('mug 1', {1, 2})", "take: receptacle must be a constant"),
        ("take('mug 1', b'x')", "take: receptacle must be a constant"),
        ("take('mug 1')", "take needs receptacle"),
        ("take('mug 1', 'desk 1', 'hand')", "take takes 2 arguments at most"),
        ("take('mug 1', object='mug 2')", "give every argument once"),
        ("take(**{'object': 'mug 1'})", "give every argument once"),
        ("look()\ninventory()", "2 different calls: look, inventory"),
        ("for i in range(9):\n    look()", "Your code has more than a call"),
        ("import os", "Your code has more than a call"),
        ("(" * 3000 + ")" * 900, "no valid Python"),
        ("look()" * 1000, "more than 4000 characters"),
        ("a" + ".a" * 90 + "(1)", "There is no function"),
        ("a" + ".a" * 110 + "(1)", "nested too deeply"),
        ("a" + ".a" * 1200 + "(1)", "nested too deeply"),
        ("x = 1" + "+1" * 1200, "nested too deeply"),
        ("-" * 1200 + "1", "nested too deeply"),
        ("look()" + ".a()" * 900, "nested too deeply"),
    ],
)
def test_what_is_no_call_is_explained_to_the_policy(code: str, message: str) -> None:
    with pytest.raises(InvalidAction) as error:
        parse_action(ALFWORLD, f"Thought: so\n```python\n{code}\n```", "code")
    assert message in str(error.value)
    assert str(error.value).endswith(CODE_FORM)
    assert str(error.value).isascii()


def test_numbers_and_lists_keep_their_types() -> None:
    sheet = environment_class("sheet")
    assert parse_action(sheet, "```python\ninsert_rows(values_list=[('a', 1), ['b', 2.5]], row_idx=3)\n```", "code") == (
        'insert_rows with Action Input: {"values_list": [["a", 1], ["b", 2.5]], "row_idx": 3}'
    )
    with pytest.raises(InvalidAction, match="get: count must be a constant"):
        parse_action(environment_class("textcraft"), f"```python\nget(0x{'f' * 3000}, 'oak log')\n```", "code")


def test_a_wrong_answer_costs_a_round() -> None:
    with make("maze") as env:
        env.reset(options={"item_id": env.instructions("eval")[0].item_id})
        observation, reward, *_ = play_answer(env, "I go up.", "code")
        assert observation.startswith("Your answer has no call of a function.")
        assert (reward, env.rounds) == (0.0, 1)
