"""Small models of several architectures with random weights, each with a chat template of its family, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHATML_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEADER_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header|>{{ message['role'] }}<|end_header|>\n\n"
    "{{ message['content'] | trim }}<|eot|>{% endfor %}{% if add_generation_prompt %}<|start_header|>assistant<|end_header|>\n\n{% endif %}"
)
INST_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
    "{% else %} {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
FAMILIES = ("llama", "qwen", "gpt2")


def create_small_model(folder: Path, family: str, seed: int = 0) -> Path:
    """A model folder with some ten thousand weights: Llama with header tokens, Qwen with ChatML, GPT-2 with [INST] brackets."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    special, template = {
        "llama": (["<|begin|>", "<|eot|>", "<|start_header|>", "<|end_header|>"], HEADER_TEMPLATE),
        "qwen": (["<|endoftext|>", "<|im_end|>", "<|im_start|>"], CHATML_TEMPLATE),
        "gpt2": (["<s>", "</s>"], INST_TEMPLATE),
    }[family]
    tokenizer = _byte_tokenizer(special)
    tokenizer.chat_template = template
    torch.manual_seed(seed)
    size = len(tokenizer)
    if family == "gpt2":
        model: Any = GPT2LMHeadModel(GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=2, n_positions=1024))
    else:
        config, architecture = (LlamaConfig, LlamaForCausalLM) if family == "llama" else (Qwen2Config, Qwen2ForCausalLM)
        shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
        model = architecture(config(vocab_size=size, max_position_embeddings=1024, **shape))
    # Larger weights than at initialization, so that the logits of tokens differ by more than rounding errors.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(4)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _byte_tokenizer(special: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[1], pad_token=special[0])
