"""Checks that a model folder is complete, and reads the model's size. Only the headers of the weight files are read.

Invariant: needs neither torch nor transformers, and milliseconds.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentevol.preflight.check import Check
from agentevol.training.memory import ModelSize

if TYPE_CHECKING:
    from agentevol.chat.tokenize import ChatTokenizer

_INDEX = "model.safetensors.index.json"
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "embeddings.weight", "embedding.weight")
_DOWNLOAD_AGAIN = "download the model again, with HF_HUB_OFFLINE unset"


def check_files(folder: Path) -> list[Check]:
    """Whether all weight files are there and whole, and in a format that can be trained."""
    config = read_config(folder)
    if "quantization_config" in config:
        method = config["quantization_config"].get("quant_method", "an unknown method")
        return [Check("weights", "error", f"quantized with {method}", "take the model with unquantized weights")]
    names = _weight_files(folder)
    if not names:
        others = ", ".join(sorted(path.name for path in folder.glob("*.safetensors")))
        detail = f"no model.safetensors, only {others}" if others else "no *.safetensors file"
        return [Check("weights", "error", detail, "take a model in this format; others are not read")]
    if missing := [name for name in names if not (folder / name).is_file()]:
        return [Check("weights", "error", f"{len(missing)} of {len(names)} files are missing ({missing[0]})", _DOWNLOAD_AGAIN)]
    if damaged := [name for name in names if _header(folder / name) is None]:
        return [Check("weights", "error", f"{damaged[0]} is incomplete or damaged", _DOWNLOAD_AGAIN)]
    size = read_size(folder)
    return [Check("weights", "ok", f"{len(names)} file{'s' * (len(names) > 1)}, {size.parameters / 1e6:,.1f} million parameters")]


def check_vocabulary(folder: Path, chat: ChatTokenizer) -> Check:
    """Whether every token that a conversation can have has a row in the embedding.

    Some tokenizers hold control tokens without a row that the template never writes, such as Gemma 3's for images.
    """
    rows = read_size(folder).vocabulary
    written = {*chat.tokenize_prompt("x"), *chat.tokenize_observation("x"), *chat.tokenize_answer("x")}
    without_row = {token for token in chat.tokenizer.get_vocab().values() if rows and token >= rows}
    if usable := without_row - (chat.control_token_ids - written):
        detail = f"the tokenizer has tokens up to id {max(usable)}, the embedding {rows} rows"
        return Check("vocabulary", "error", detail, "take the tokenizer of this model, or resize the model's embedding")
    unused = f"; {len(without_row)} control tokens without a row, which no conversation has" if without_row else ""
    return Check("vocabulary", "ok", f"{len(chat.tokenizer)} tokens, {rows} rows in the embedding{unused}")


def read_config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


def read_size(folder: Path) -> ModelSize:
    """The model's size, from the headers of its weight files and its configuration. Damaged files count nothing."""
    config = read_config(folder)
    text_config = config.get("text_config") if isinstance(config.get("text_config"), dict) else {}
    shapes: dict[str, list[int]] = {}
    for file in _weight_files(folder):
        shapes |= {name: tensor["shape"] for name, tensor in (_header(folder / file) or {}).items() if name != "__metadata__"}

    def number(*names: str) -> int:
        values = (source.get(name) for source in (config, text_config or {}) for name in names)
        return next((int(value) for value in values if isinstance(value, int)), 0)

    rows = [shape[0] for name, shape in shapes.items() if name.endswith(_EMBEDDINGS)]
    parameters = sum(math.prod(shape) for shape in shapes.values())
    width, heads = number("hidden_size", "n_embd", "d_model"), number("num_attention_heads", "n_head") or 1
    head_width = number("head_dim") or width // heads
    return ModelSize(
        parameters=parameters,
        trained_parameters=parameters,
        layers=number("num_hidden_layers", "n_layer"),
        width=width,
        mlp_width=number("intermediate_size", "n_inner") or 4 * width,
        query_width=heads * head_width,
        key_width=(number("num_key_value_heads") or heads) * head_width,
        vocabulary=min([number("vocab_size"), *rows]) if number("vocab_size") else max(rows, default=0),
    )


def _weight_files(folder: Path) -> list[str]:
    """The files that transformers loads. A folder can hold further ones, such as the same weights in the format of another library."""
    index = folder / _INDEX
    if index.is_file():
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    return ["model.safetensors"] if (folder / "model.safetensors").is_file() else []


def _header(path: Path) -> Mapping[str, Any] | None:
    """The header of a safetensors file; None if the file is shorter than its header says, or no such file."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                return None
            header: dict[str, Any] = json.loads(file.read(length))
        end = max((tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"), default=0)
    except (OSError, ValueError, struct.error, KeyError, TypeError):
        return None
    return header if path.stat().st_size >= 8 + length + end else None
