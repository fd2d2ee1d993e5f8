"""Turn-by-turn tokenisation: which tokens a model reads, which carry loss, in three families of chat templates."""

from __future__ import annotations

import pytest

from agentevol.chat.template import ChatTemplateError
from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.trajectory import Message
from agentevol.models import load_tokenizer
from tests.small_models import FAMILIES

TALK = [
    Message("user", "Be good.\n\nYou are at 0."),
    Message("assistant", "Thought: up\nAction: 1", loss=True),
    Message("user", "You are at 1."),
    Message("assistant", "OK.", loss=False),
    Message("user", "Well?"),
    Message("assistant", "Thought: up\nAction: 2", loss=True),
    Message("user", "Done."),
]


@pytest.fixture(params=FAMILIES)
def chat(request: pytest.FixtureRequest, small_models: dict[str, object]) -> ChatTokenizer:
    return ChatTokenizer(load_tokenizer(small_models[request.param]))  # type: ignore[arg-type]


def test_pieces_make_up_the_whole_template(chat: ChatTokenizer) -> None:
    """What is fed piece by piece is what the template would write for the whole conversation, up to the last answer's end mark."""
    pieces = chat.tokenize_conversation(TALK).token_ids
    rendered = chat.tokenizer.apply_chat_template(
        [{"role": message.role, "content": message.content} for message in TALK[:-1]], tokenize=False, add_generation_prompt=False
    )
    whole = chat.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert whole[: len(pieces)] == pieces
    assert len(whole) - len(pieces) <= 1  # ChatML writes a newline after the end mark


def test_loss_on_the_policys_own_words_only_turn_by_turn(chat: ChatTokenizer) -> None:
    encoded = chat.tokenize_conversation(TALK)
    runs: list[str] = []
    for index, (token, learnt) in enumerate(zip(encoded.token_ids, encoded.loss_mask, strict=True)):
        if learnt and (index == 0 or not encoded.loss_mask[index - 1]):
            runs.append("")
        if learnt:
            runs[-1] += chat.tokenizer.decode([token])
    end = chat.tokenizer.decode([chat.end_token_id])
    assert [run.strip() for run in runs] == [f"Thought: up\nAction: 1{end}", f"Thought: up\nAction: 2{end}"]


def test_an_answer_survives_the_round_trip(chat: ChatTokenizer) -> None:
    assert chat.decode(chat.tokenize_answer("Thought: é ☃ x\nAction: craft 2 oak log")) == "Thought: é ☃ x\nAction: craft 2 oak log"


def test_a_tokenizer_without_template_gets_a_plain_one(small_models: dict[str, object]) -> None:
    tokenizer = load_tokenizer(small_models["llama"])  # type: ignore[arg-type]
    tokenizer.chat_template = None
    chat = ChatTokenizer(tokenizer)
    assert "### assistant" in tokenizer.decode(chat.tokenize_prompt("Hello"))
    assert chat.end_token_id == tokenizer.eos_token_id


def test_a_template_that_rewrites_answers_is_refused(small_models: dict[str, object]) -> None:
    tokenizer = load_tokenizer(small_models["qwen"])  # type: ignore[arg-type]
    tokenizer.chat_template = "{% for message in messages %}{{ message['role'] }}{% endfor %}"
    with pytest.raises(ChatTemplateError, match="give the tokenizer another template"):
        ChatTokenizer(tokenizer)
