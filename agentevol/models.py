"""Models as folders: found, named by their content, loaded. Only safetensors are read, never pickles, and no remote code is run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from agentevol.data.artifact_folder import sha256_file

_OF_THE_MODEL = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
_FROM_THE_HUB = ["*.json", "*.safetensors", "*.jinja", "*.model", "vocab.txt", "merges.txt"]


class ModelNotFound(FileNotFoundError):
    """No such model folder, and no such name on the hub or in its local cache."""


def resolve_model(name_or_folder: str | Path) -> Path:
    """The folder of a model: the one given, or the snapshot of a Hugging Face name (downloaded unless HF_HUB_OFFLINE is set).

    Raises ModelNotFound, which names what was given.
    """
    folder = Path(name_or_folder)
    if (folder / "config.json").is_file():
        return folder
    if is_local_path(name_or_folder):
        raise ModelNotFound(f"{folder} is not a model folder (no config.json); `make base-model` rebuilds models/base")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(name_or_folder), allow_patterns=_FROM_THE_HUB))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ModelNotFound(
            f"{str(name_or_folder)!r} is neither a model folder (config.json) nor a model the hub gave: {reason}"
        ) from error


def is_local_path(name_or_folder: str | Path) -> bool:
    """Whether a place on this machine is meant, rather than a name on the hub."""
    return Path(name_or_folder).exists() or str(name_or_folder).startswith((".", "/", "models/", "runs/"))


def model_digest(folder: Path) -> str:
    """SHA-256 over what decides the model's behaviour: configuration, tokenizer, template, weights."""
    wanted = [folder / name for name in _OF_THE_MODEL if (folder / name).is_file()] + sorted(folder.glob("*.safetensors"))
    state = hashlib.sha256()
    for file in sorted(wanted, key=lambda path: path.name):
        state.update(file.name.encode() + b"\0" + bytes.fromhex(sha256_file(file)))
    return state.hexdigest()


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def load_model(folder: Path, dtype: str = "float32") -> Any:
    """A causal language model in evaluation mode. Raises ModelNotFound when the folder holds no safetensors."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # loading and saving take milliseconds; the bars of a run are its own

    if not list(folder.glob("*.safetensors")):
        raise ModelNotFound(f"{folder} holds no *.safetensors file; other weight formats are not read")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True)
    return model.eval()


def max_context_length(model: Any) -> int | None:
    """The most tokens that a model has places for; None where its configuration names no bound."""
    return int(getattr(model.config, "max_position_embeddings", 0) or 0) or None
