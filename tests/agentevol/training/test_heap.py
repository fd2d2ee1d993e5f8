"""Trimming the heap keeps what is in use, and the user's own setting of oneDNN's cache stays. (Measured: benchmarks/memory.py.)"""

from __future__ import annotations

import os
import platform

import pytest
import torch

from agentevol.training import heap


def test_trimming_keeps_the_memory_in_use() -> None:
    blocks = [torch.full((16 * 1024,), float(index)) for index in range(400)]
    kept = blocks[::40]
    del blocks
    heap.trim_heap()
    assert all(bool((block == 40 * index).all()) for index, block in enumerate(kept))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries return memory by themselves")
def test_trimming_returns_all_free_memory_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert heap._malloc_trim is not None
    paddings: list[int] = []
    monkeypatch.setattr(heap, "_malloc_trim", paddings.append)
    heap.trim_heap()
    assert paddings == [0], "no free bytes are kept at the top of the heap"


def test_trimming_does_nothing_with_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_malloc_trim", None)
    heap.trim_heap()


def test_the_kernel_cache_is_bounded_unless_the_user_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    heap.limit_kernel_cache()
    assert 0 < int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) < 1024
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    heap.limit_kernel_cache()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
