"""Loading the chat tokenizer of a model folder.

Invariant: a tokenizer is loaded once in a process for the same files, because a large one takes several seconds. The result is shared:
nobody changes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentevol.chat.contract import keeps_template
from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.artifact_folder import digest_json, sha256_file
from agentevol.models import load_tokenizer

TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "chat_template.jinja"),
    *("vocab.json", "vocab.txt", "merges.txt", "added_tokens.json", "tekken.json"),
)
_MAX_LOADED = 4  # base model, previous policy, and some to spare
_loaded: dict[str, ChatTokenizer] = {}


def load_chat_tokenizer(folder: Path, template_kwargs: Mapping[str, Any] | None = None) -> ChatTokenizer:
    """The chat tokenizer of a model, with the stop tokens of its generation configuration. Raises ChatTemplateError."""
    eos_token_ids = read_eos_token_ids(folder)
    files = {name: sha256_file(folder / name) for name in TOKENIZER_FILES if (folder / name).is_file()}
    # Without tokenizer.json, transformers chooses the class by the model's configuration.
    config = {} if "tokenizer.json" in files else {"config.json": sha256_file(folder / "config.json")}
    key = digest_json([files, config, eos_token_ids, dict(template_kwargs or {})])
    if key not in _loaded:
        while len(_loaded) >= _MAX_LOADED:
            _loaded.pop(next(iter(_loaded)))
        _loaded[key] = ChatTokenizer(load_tokenizer(folder), template_kwargs, eos_token_ids, keeps_template)
    return _loaded[key]


def read_eos_token_ids(folder: Path) -> list[int]:
    """The stop tokens that generation_config.json names, or config.json where there is no such file; [] if they name none."""
    for name in ("generation_config.json", "config.json"):
        try:
            eos = json.loads((folder / name).read_text(encoding="utf-8")).get("eos_token_id")
        except FileNotFoundError:
            continue
        return [int(token) for token in (eos if isinstance(eos, list) else [] if eos is None else [eos])]
    return []
