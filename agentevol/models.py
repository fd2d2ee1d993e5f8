"""Model folders: finding them, naming them by content, loading them.

Invariant: only safetensors files are read, never pickles, and no code from a model's folder runs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from agentevol.data.artifact_folder import sha256_file_once

_MODEL_FILES = (
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
_HUB_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.model", "vocab.txt", "merges.txt"]


class ModelNotFound(FileNotFoundError):
    """There is no such model folder, nor such a model on the hub or in its local cache; or its files do not hold the whole model."""


def resolve_model(name_or_folder: str | Path) -> Path:
    """The folder of a model: the given one, or the snapshot of a Hugging Face name (downloaded unless HF_HUB_OFFLINE is set).

    Raises ModelNotFound, whose message begins with the given name.
    """
    folder = Path(name_or_folder)
    if (folder / "config.json").is_file():
        return folder
    if is_local_path(name_or_folder):
        raise ModelNotFound(f"{folder} is not a model folder (no config.json); `make base-model` rebuilds models/base")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(name_or_folder), allow_patterns=_HUB_PATTERNS))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ModelNotFound(
            f"{str(name_or_folder)!r} is neither a model folder (config.json) nor a model that the hub provides: {reason}"
        ) from error


def is_local_path(name_or_folder: str | Path) -> bool:
    """Whether this is a path on this machine rather than a name on the hub."""
    return Path(name_or_folder).exists() or str(name_or_folder).startswith((".", "/", "models/", "runs/"))


def model_digest(folder: Path) -> str:
    """SHA-256 over the files that determine the model's behaviour: configuration, tokenizer, chat template, weights."""
    files = [folder / name for name in _MODEL_FILES if (folder / name).is_file()] + sorted(folder.glob("*.safetensors"))
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda path: path.name):
        digest.update(file.name.encode() + b"\0" + bytes.fromhex(sha256_file_once(file)))
    return digest.hexdigest()


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, as transformers loads it; nothing is downloaded."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def load_model(folder: Path, dtype: str = "float32") -> Any:
    """A causal language model in evaluation mode; `dtype`: the name of a torch dtype.

    Raises ModelNotFound if there are no safetensors, or if they lack weights: transformers would take random ones.
    """
    import torch

    if not list(folder.glob("*.safetensors")):
        raise ModelNotFound(f"{folder} contains no *.safetensors file; other weight formats are not supported")
    model, missing = _load(folder, dtype=getattr(torch, dtype))
    if missing:
        raise ModelNotFound(f"{folder}: {_describe_missing(model, missing)}; take a causal language model with all its weights")
    return model.eval()


def missing_weights(folder: Path) -> str | None:
    """Which weights of the architecture the files lack; None if they hold all. Reads their names and shapes alone."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # else transformers prints a report of several lines
    try:
        model, missing = _load(folder, device_map="meta")
    finally:
        logging.set_verbosity(verbosity)
    return _describe_missing(model, missing) if missing else None


def _load(folder: Path, **options: Any) -> tuple[Any, list[str]]:
    """The model, and the names of the weights that are not in the files, or have another shape there."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # loading takes milliseconds, and a run shows its own progress bars
    files = {"use_safetensors": True, "local_files_only": True}
    model, info = AutoModelForCausalLM.from_pretrained(folder, ignore_mismatched_sizes=True, output_loading_info=True, **files, **options)
    return model, sorted({*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])})


def _describe_missing(model: Any, names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"the files lack weights of {type(model).__name__}, or have them in another shape: {names[0]}{more}"


def max_context_length(config: Any) -> int | None:
    """The longest sequence, in tokens, that a model with this configuration reads; None if it sets no limit.

    Positions of the types longrope (Phi-3) and dynamic change for all rows of a pass when one of them exceeds the original length. A row
    would then depend on the others, so the original length is the limit.
    """
    limits = [getattr(config, "max_position_embeddings", None)]
    rope = getattr(config, "rope_parameters", None) or {}
    for parameters in [rope, *(value for value in rope.values() if isinstance(value, dict))]:
        if parameters.get("rope_type") in ("longrope", "dynamic"):
            limits.append(parameters.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None))
    return min((int(limit) for limit in limits if limit), default=None)
