"""Models of random weights in the shapes of today's small language models, and the operations that training them takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

VOCABULARY = 32_000


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama: width, layers, MLP width, heads of `head_width` and key heads."""

    width: int
    layers: int
    mlp_width: int
    heads: int
    key_heads: int
    head_width: int = 128
    vocabulary: int = VOCABULARY


SHAPES = {
    "0.3": Shape(1024, 20, 2816, 8, 4),
    "0.6": Shape(1536, 20, 4096, 12, 4),
    "1.5": Shape(2048, 30, 5632, 16, 4),
}
"""By billions of parameters, embedding and output included."""
TINY = Shape(64, 2, 128, 4, 2, head_width=16, vocabulary=300)
"""Of the dry run."""


def config(shape: Shape, context_length: int = 4096) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.mlp_width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        head_dim=shape.head_width,
        max_position_embeddings=context_length,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )


def random_model(shape: Shape, device: torch.device, dtype: torch.dtype) -> Any:
    """The weights are drawn on the device."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    with device:
        return LlamaForCausalLM._from_config(config(shape), dtype=dtype)


def save_random_model(shape: Shape, folder: Path, tokenizer_folder: Path, device: torch.device) -> Path:
    """A model folder with the tokenizer of another one; the vocabulary is at least as large as the tokenizer's."""
    from dataclasses import replace

    from agentevol.models import load_tokenizer

    tokenizer = load_tokenizer(tokenizer_folder)
    shape = replace(shape, vocabulary=max(shape.vocabulary, len(tokenizer)))
    random_model(shape, device, torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def training_operations(model: Any, lengths: Sequence[int], trained_tokens: int) -> float:
    """Floating-point operations of forward and backward pass over rows of these lengths; only `trained_tokens` pass the output layer.

    6 for each weight of a matrix and token; in attention, 6 for each query number and key position on average before it.
    """
    config = model.config
    head = model.get_output_embeddings().weight.numel()
    matrices = sum(p.numel() for p in model.parameters() if p.ndim == 2) - head - model.get_input_embeddings().weight.numel()
    attention = config.num_hidden_layers * config.num_attention_heads * config.head_dim * sum(length**2 for length in lengths)
    return 6.0 * (matrices * sum(lengths) + head * trained_tokens + attention)
