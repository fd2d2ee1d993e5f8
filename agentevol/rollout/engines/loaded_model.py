"""The weights of the last rollout's policy, kept in the process so that the next chunk of the same policy does not load them again.

Invariant: a process keeps one model, by the digest of its files, their type and the device; another one replaces it before it is loaded.
Only weights are kept: each rollout has a KV cache of its own, so that nothing of one can reach another. Training calls `release_model`.
Imports nothing that takes long.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from agentevol.gpus import free_gpu_memory
from agentevol.models import load_model, model_digest

MEMORY_SHARE = 0.25
"""Of the free memory: a model on a CPU that takes more is loaded for every rollout, so that what comes between has its memory."""


@dataclass(frozen=True, slots=True)
class _LoadedModel:
    key: tuple[str, str, str]
    model: Any


_kept: _LoadedModel | None = None


def get_model(folder: Path, dtype: str, device: Any, *, keep: bool) -> tuple[Any, str]:
    """The model in a folder, in evaluation mode on the device, and its digest. `keep`: it stays for the next call.

    `dtype`: the name of a torch dtype. Raises ModelNotFound.
    """
    global _kept
    if not keep:
        return load_model(folder, dtype).to(device), model_digest(folder)
    key = (model_digest(folder), dtype, str(device))
    if _kept is not None and _kept.key == key:
        return _kept.model, key[0]
    release_model()
    model = load_model(folder, dtype).to(device)
    digest = model_digest(folder)
    if digest == key[0] and _is_affordable(model):  # else the folder was replaced meanwhile
        _kept = _LoadedModel(key, model)
    return model, digest


def release_model() -> None:
    """Free the memory of the kept model, if no rollout uses it."""
    global _kept
    if _kept is not None:
        _kept = None
        gc.collect()
        free_gpu_memory()


def _is_affordable(model: Any) -> bool:
    weights = [*model.parameters(), *model.buffers()]
    if any(weight.device.type != "cpu" for weight in weights):
        return True  # between rollouts only training needs the GPU
    return bool(sum(weight.nbytes for weight in weights) <= MEMORY_SHARE * psutil.virtual_memory().available)
