"""Keeping a training's memory at what a step needs.

Invariant: it changes when memory goes back to the system and never a result. Packed lines are of a new length at every step, and two things
keep something of each length: glibc's heap, whose gaps hardly ever fit the next step, and oneDNN's cache of compiled kernels.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

_KERNELS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def limit_kernel_cache() -> None:
    """Bound oneDNN's cache, which otherwise holds 1,024 kernels. Read when the first one is made; what the user has set stays."""
    os.environ.setdefault(_KERNELS, "64")


def _find_trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library: it manages by itself
        return None
    return found


_trim = _find_trim()


def trim_heap() -> None:
    """Return what is free on the heap to the system; costs about as much as touching that memory again."""
    if _trim is not None:
        _trim(0)
