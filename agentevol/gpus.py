"""The GPUs of this machine: which of them this process may use, and the memory that it holds there without need.

Invariant: neither function starts CUDA in this process.
"""

from __future__ import annotations

import gc
import os
import sys


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, each as CUDA_VISIBLE_DEVICES names it; empty on a machine without one."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(index) for index in range(count)] if listed is None else [name.strip() for name in listed.split(",")]
    return tuple(names[:count])


def free_gpu_memory() -> None:
    """Return what this process keeps of a GPU's memory after its tensors are gone: other processes and vLLM need it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
