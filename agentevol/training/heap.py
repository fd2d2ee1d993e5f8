"""Keeps the memory of a training at what one step needs.

Invariant: this changes when memory returns to the system and never a result. Packed batches have a new length at every step, and two caches
keep something for each length: glibc's heap, whose gaps hardly ever fit the next step, and oneDNN's cache of compiled kernels.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

_KERNEL_CACHE_VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_KERNEL_CACHE_SIZE = 64


def limit_kernel_cache() -> None:
    """Bound oneDNN's cache, by default 1,024 kernels. Call it before the first kernel is compiled; a value that the user has set stays."""
    os.environ.setdefault(_KERNEL_CACHE_VARIABLE, str(_KERNEL_CACHE_SIZE))


def _find_malloc_trim() -> Callable[[int], int] | None:
    try:
        malloc_trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc; other C libraries return memory by themselves
        return None
    return malloc_trim


_malloc_trim = _find_malloc_trim()


def trim_heap() -> None:
    """Return the free memory of the heap to the system. It costs about as much as touching that memory again."""
    if _malloc_trim is not None:
        _malloc_trim(0)
