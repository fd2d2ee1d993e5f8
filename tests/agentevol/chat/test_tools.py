"""Functions in chat templates: where the template writes calls, a whole conversation is what the template renders; elsewhere it is text."""

from __future__ import annotations

from typing import Any

import pytest

from agentevol.chat.contract import keeps_template
from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.function_calling import CALL_FORM, format_call, tools, tools_text
from agentevol.data.trajectory import Message
from envs import environment_class
from tests.agentevol.chat import families

TOOLS = tools(environment_class("maze"))
MESSAGES = [
    Message("user", "You are in a maze."),
    Message("assistant", format_call("Up.", "move", {"direction": "up"}), loss=True),
    Message("user", "There is a wall."),
    Message("assistant", "Thought: I give up.", loss=True),
    Message("user", "Your answer has no function call."),
    Message("assistant", format_call("Down.", "move", {"direction": "down"}), loss=True),
]


def text_of(chat: ChatTokenizer, messages: list[Message], functions: list[dict[str, Any]] | None) -> str:
    return str(chat.tokenizer.decode(chat.tokenize_conversation(messages, functions).token_ids))


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3"])
def test_a_template_with_functions_gets_them_and_its_own_forms_are_used(family: str) -> None:
    chat = ChatTokenizer(families.tokenizer(family))
    assert chat.writes_tools
    call = {"type": "function", "function": {"name": "move", "arguments": {"direction": "up"}}}
    conversation = [
        {"role": "user", "content": MESSAGES[0].content},
        {"role": "assistant", "content": "Thought: Up.", "tool_calls": [call]},
        {"role": "tool", "name": "move", "content": MESSAGES[2].content},
        {"role": "assistant", "content": MESSAGES[3].content},
        {"role": "user", "content": MESSAGES[4].content},
    ]
    rendered = chat.template.render(conversation, tools=TOOLS)
    text = text_of(chat, MESSAGES, TOOLS)
    assert text.removesuffix(MESSAGES[5].content + chat.end_text) == rendered
    assert text.count('"enum": ["up", "down", "left", "right"]') == 1
    assert "<tool_response>\nThere is a wall.\n</tool_response>" in text


@pytest.mark.parametrize("family", ["llama3", "llama3_1", "gemma", "phi3"])
def test_elsewhere_the_functions_are_text_of_the_first_message(family: str) -> None:
    chat = ChatTokenizer(families.tokenizer(family))
    assert not chat.writes_tools
    text = text_of(chat, MESSAGES, TOOLS)
    first = text.partition("Up.")[0]
    assert '{"name": "move", "description": "Move one cell."' in first
    assert CALL_FORM in first
    plain = [Message("user", tools_text(TOOLS) + MESSAGES[0].content), *MESSAGES[1:]]
    assert text == text_of(chat, plain, None)


@pytest.mark.parametrize("family", ["qwen2_5", "llama3"])
def test_only_the_answers_are_trained_on(family: str) -> None:
    chat = ChatTokenizer(families.tokenizer(family))
    example = chat.tokenize_conversation(MESSAGES, TOOLS)
    trained = [token for token, learn in zip(example.token_ids, example.loss_mask, strict=True) if learn]
    assert chat.tokenizer.decode(trained) == "".join(message.content + chat.end_text for message in MESSAGES[1::2])


@pytest.mark.parametrize(("family", "writes_tools"), [("qwen2_5", True), ("qwen3", False)])
def test_policies_that_are_saved_with_another_template_get_the_functions_as_text(family: str, writes_tools: bool) -> None:
    assert ChatTokenizer(families.tokenizer(family), keeps_template=keeps_template).writes_tools == writes_tools


def test_without_functions_nothing_changes() -> None:
    chat = ChatTokenizer(families.tokenizer("qwen2_5"))
    assert "move" not in text_of(chat, MESSAGES, None).partition("You are in a maze.")[0]
    assert "tool_response" not in text_of(chat, MESSAGES, None)
