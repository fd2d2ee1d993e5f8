"""Turn-by-turn tokenization in three families of chat templates: the tokens that a model reads, and those that have loss."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agentevol.chat import load as load_module
from agentevol.chat.contract import exported_template
from agentevol.chat.load import load_chat_tokenizer
from agentevol.chat.template import ChatTemplateError
from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.trajectory import Message
from agentevol.models import load_tokenizer
from tests.small_models import FAMILIES

CONVERSATION = [
    Message("user", "Be good.\n\nYou are at 0."),
    Message("assistant", "Thought: up\nAction: 1", loss=True),
    Message("user", "You are at 1."),
    Message("assistant", "OK.", loss=False),
    Message("user", "Well?"),
    Message("assistant", "Thought: up\nAction: 2", loss=True),
    Message("user", "Done."),
]


@pytest.fixture(params=FAMILIES)
def chat(request: pytest.FixtureRequest, small_models: dict[str, Path]) -> ChatTokenizer:
    return ChatTokenizer(load_tokenizer(small_models[request.param]))


def test_the_turns_add_up_to_the_whole_template(chat: ChatTokenizer) -> None:
    """Tokenized turn by turn, a conversation has the tokens of the whole rendered template, up to the last answer's end token."""
    turn_by_turn = chat.tokenize_conversation(CONVERSATION).token_ids
    rendered = chat.tokenizer.apply_chat_template(
        [{"role": message.role, "content": message.content} for message in CONVERSATION[:-1]], tokenize=False, add_generation_prompt=False
    )
    whole = chat.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert whole[: len(turn_by_turn)] == turn_by_turn
    assert len(whole) - len(turn_by_turn) <= 1  # ChatML writes a newline after the end token


def test_only_the_policys_own_answers_have_loss(chat: ChatTokenizer) -> None:
    example = chat.tokenize_conversation(CONVERSATION)
    runs: list[str] = []
    for index, (token, has_loss) in enumerate(zip(example.token_ids, example.loss_mask, strict=True)):
        if has_loss and (index == 0 or not example.loss_mask[index - 1]):
            runs.append("")
        if has_loss:
            runs[-1] += chat.tokenizer.decode([token])
    end = chat.tokenizer.decode([chat.end_token_id])
    assert [run.strip() for run in runs] == [f"Thought: up\nAction: 1{end}", f"Thought: up\nAction: 2{end}"]


def test_an_answer_survives_the_round_trip(chat: ChatTokenizer) -> None:
    assert chat.decode(chat.tokenize_answer("Thought: é ☃ x\nAction: craft 2 oak log")) == "Thought: é ☃ x\nAction: craft 2 oak log"


def test_an_end_token_that_is_not_marked_as_special_is_no_text(small_models: dict[str, Path], tmp_path: Path) -> None:
    """Tokens of ChatML, added to a tokenizer with another eos token as ordinary ones; and a stop token of the generation configuration."""
    folder = shutil.copytree(small_models["qwen"], tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    for token in tokenizer["added_tokens"]:
        token["special"] = token["content"] == "<|endoftext|>"
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    configuration = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**configuration, "eos_token": "<|endoftext|>"}))
    chat = ChatTokenizer(load_tokenizer(folder), eos_token_ids=[65])
    answer = chat.tokenize_answer("Thought: a\nAction: go")
    assert chat.tokenizer.decode(answer, skip_special_tokens=True).endswith("go<|im_end|>")
    assert chat.decode(answer) == chat.decode([*answer[:-1], 65]) == "Thought: a\nAction: go"
    assert chat.decode([]) == chat.decode([chat.end_token_id]) == ""


def test_an_answer_keeps_its_spaces_where_the_tokenizer_would_clean_them_up(small_models: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(small_models["llama"])
    tokenizer.clean_up_tokenization_spaces = tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    chat, query = ChatTokenizer(tokenizer), "SELECT .5 , ' ' FROM t WHERE x = 'men'"
    assert chat.decode(chat.tokenize_answer(query)) == query


def test_a_tokenizer_without_a_template_gets_the_fallback(small_models: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(small_models["llama"])
    tokenizer.chat_template = None
    chat = ChatTokenizer(tokenizer)
    assert "### assistant" in tokenizer.decode(chat.tokenize_prompt("Hello"))
    assert chat.end_token_id == tokenizer.eos_token_id


def test_the_embedded_model_keeps_its_token_ids() -> None:
    """Its prompts are those of the plain template, and no result depends on more than its tokenizer's files."""
    chat = load_chat_tokenizer(Path("models/base"))
    text = "Thought: you can see 2 doors.\n\nI see \u2603 to your left "
    ids = chat.tokenizer(f"<|user|>{text}<|end|><|assistant|>{text}<|end|><|user|>{text}<|end|><|assistant|>", add_special_tokens=False)
    assert chat.tokenize_prompt(text) + chat.tokenize_answer(text) + chat.tokenize_observation(text) == ids["input_ids"]
    assert chat.stop_token_ids == {chat.end_token_id} == {1}
    assert chat.format_key() is None
    assert exported_template(chat) is None


def test_a_tokenizer_that_adds_bos_gets_it_without_a_template(small_models: dict[str, Path]) -> None:
    from tokenizers import processors

    tokenizer = load_tokenizer(small_models["llama"])
    tokenizer.chat_template = None
    bos = tokenizer.bos_token, tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos[0]} $A", special_tokens=[bos])
    chat = ChatTokenizer(tokenizer)
    assert chat.tokenize_prompt("Hello")[0] == bos[1]
    assert bos[1] not in chat.tokenize_prompt("Hello")[1:] + chat.tokenize_observation("Hello") + chat.tokenize_answer("Hello")
    assert chat.format_key() is not None


def test_stop_tokens_come_from_the_generation_configuration(small_models: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(small_models["qwen"], tmp_path / "model")
    tokenizer = load_tokenizer(tmp_path / "model")
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps({"eos_token_id": [tokenizer.eos_token_id, 65]}))
    assert load_chat_tokenizer(tmp_path / "model").stop_token_ids == {tokenizer.eos_token_id, 65}
    assert load_chat_tokenizer(tmp_path / "model") is load_chat_tokenizer(tmp_path / "model")
    assert load_chat_tokenizer(tmp_path / "model", {"date": "now"}) is not load_chat_tokenizer(tmp_path / "model")


def test_a_template_that_fails_is_one_line(small_models: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(small_models["qwen"])
    tokenizer.chat_template = "{{ raise_exception('only\\nsystem messages') }}"
    with pytest.raises(ChatTemplateError, match=r"the chat template fails \(TemplateError: only system messages\); give the tokenizer"):
        ChatTokenizer(tokenizer)


def test_a_template_that_drops_answers_is_rejected(small_models: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(small_models["qwen"])
    tokenizer.chat_template = "{% for message in messages %}{{ message['role'] }}{% endfor %}"
    with pytest.raises(ChatTemplateError, match="give the tokenizer another template"):
        ChatTokenizer(tokenizer)


def test_a_tokenizer_without_an_end_token_is_rejected(small_models: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(small_models["qwen"])
    tokenizer.eos_token = None
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    with pytest.raises(ChatTemplateError, match="no eos token"):
        ChatTokenizer(tokenizer)


def test_the_same_files_are_loaded_once(small_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer of 262,144 entries takes seconds, and every policy has the one of its base model."""
    loads: list[Path] = []

    def load(folder: Path) -> Any:
        loads.append(folder)
        return load_tokenizer(folder)

    monkeypatch.setattr(load_module, "_loaded", {})
    monkeypatch.setattr(load_module, "load_tokenizer", load)
    base, policy = small_models["qwen"], shutil.copytree(small_models["qwen"], tmp_path / "policy")
    assert load_chat_tokenizer(base) is load_chat_tokenizer(policy)
    assert loads == [base]
    assert load_chat_tokenizer(base, {"style": "short"}) is not load_chat_tokenizer(base)
    (policy / "generation_config.json").write_text('{"eos_token_id": 3}')
    assert 3 in load_chat_tokenizer(policy).stop_token_ids
    assert loads == [base, base, policy]
