"""Chat templates of many model families, read from the packages that ship them, each with a tokenizer that has the family's tokens.

TRL ships most of them as files. The package guidance ships further ones as strings of a module, which is read and never imported.
"""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CHATML = ("<|endoftext|>", "<|im_end|>", "<|im_start|>")
LLAMA3 = ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>")
DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>")
PHI = ("<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
TOKENS = {
    "cohere": ("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
    "deepseek_r1_distill": DEEPSEEK,
    "deepseekv3": DEEPSEEK,
    "gemma": ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
    "gemma3": ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
    "glm4moe": ("<|endoftext|>", "<|endoftext|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<think>", "</think>"),
    "gptoss": ("<|startoftext|>", "<|return|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|call|>"),
    "lfm2": ("<|startoftext|>", "<|im_end|>", "<|im_start|>"),
    "llama3": LLAMA3,
    "llama3_1": LLAMA3,
    "llama3_2": LLAMA3,
    "phi3": PHI,
    "qwen2_5": CHATML,
    "qwen3": (*CHATML, "<think>", "</think>"),
    "llama2_template": ("<s>", "</s>"),
    "mistral_7b_instruct_template": ("<s>", "</s>"),
    "chatml_template": CHATML,
    "phi_4_mini_template": PHI,
    "gemma2_9b_it_template": ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
}
"""By template: BOS, EOS, and the other tokens that it writes. The names with _template are those of guidance."""
FAMILIES = tuple(TOKENS)
_NO_SPECIAL = ("<think>", "</think>", "<｜User｜>", "<｜Assistant｜>")
"""Tokens that these families' tokenizers hold as added tokens without calling them special."""
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def template(family: str) -> str:
    """The template's text; skips the test if the package that ships it is not installed."""
    package = "guidance" if family.endswith("_template") else "trl"
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"the package {package} is not installed")
    folder = Path(spec.submodule_search_locations[0])
    if package == "trl":
        return (folder / "chat_templates" / f"{family}.jinja").read_text(encoding="utf-8")
    return _string_constants(folder / "chat.py")[family]


@cache
def _string_constants(module: Path) -> dict[str, str]:
    return {
        node.targets[0].id: node.value.value
        for node in ast.parse(module.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant)
    }


def tokenizer(family: str) -> Any:
    """A tokenizer with merges that cross words and new lines, in the manner of SentencePiece for Llama 2 and Mistral."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokens = list(dict.fromkeys(TOKENS[family]))
    texts = ["Thought: I look at it.\nAction: go to the next room\n\n", "[INST] You are in a room. [/INST] Thought: ", "assistant\nuser\n"]
    if family in ("llama2_template", "mistral_7b_instruct_template"):
        backend = Tokenizer(models.BPE(unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        backend.decoder = decoders.Metaspace(prepend_scheme="first")
        trainer = trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=["<unk>"],
            initial_alphabet=[*map(chr, range(33, 127)), "｜", "é", "☃", "\n"],
            show_progress=False,
        )
    else:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(_WORDS), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    backend.train_from_iterator(texts * 4, trainer)
    backend.add_special_tokens([token for token in tokens if token not in _NO_SPECIAL])
    backend.add_tokens([AddedToken(token, normalized=False) for token in tokens if token in _NO_SPECIAL])
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=TOKENS[family][0], eos_token=TOKENS[family][1])
    made.chat_template = template(family)
    return made
