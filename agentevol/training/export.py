"""Saving a policy so that any program serves it as it was trained.

Invariant: the saved folder names the end token of the answers, holds a chat template that writes what training did, and has the number
format of the base model. Where the base model has all of this, its own files stay as they are.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from agentevol.chat.contract import exported_template
from agentevol.chat.tokenize import ChatTokenizer


def save_policy(
    model: Any, chat: ChatTokenizer, base: Path, output_dir: Path, state_dict: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write the trained model with its tokenizer to `output_dir`. The model's weights change to the base model's number format.

    `base`: the folder that training started from. `state_dict`: the whole weights of a model that is spread over processes.
    """
    dtype = stored_dtype(base)
    for config in (model.config, model.generation_config):
        if config is not None:
            _set_end_token(config, chat)
    if state_dict is None:
        model.to(dtype)
    else:
        state_dict = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state_dict.items()}
    model.save_pretrained(output_dir, state_dict=state_dict)
    if state_dict is not None:  # the configuration names the format of the model in memory, not that of the given weights
        model.config.dtype = dtype
        model.config.save_pretrained(output_dir)
    tokenizer = chat.tokenizer
    if (template := exported_template(chat)) is not None:
        tokenizer = copy.copy(tokenizer)  # the original is shared
        tokenizer.chat_template = template
    tokenizer.save_pretrained(output_dir)


def stored_dtype(folder: Path) -> torch.dtype:
    """The number format of a model's weights, as config.json states it; float32 for formats that training does not write."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    dtype = getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float32"), torch.float32)
    return dtype if dtype in (torch.float32, torch.bfloat16, torch.float16) else torch.float32


def _set_end_token(config: Any, chat: ChatTokenizer) -> None:
    """Name the end token among the tokens that end a generation."""
    eos = getattr(config, "eos_token_id", None)
    named = list(eos) if isinstance(eos, list | tuple) else [] if eos is None else [eos]
    if chat.end_token_id not in named:
        config.eos_token_id = [chat.end_token_id, *named] if named else chat.end_token_id
