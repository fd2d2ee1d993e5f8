"""What a training has freed goes back to the system, and the user's own setting of oneDNN's cache stays."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import pytest
import torch

from agentevol.training.heap import limit_kernel_cache, trim_heap


def resident() -> int:
    """MiB of this process."""
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) // 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries manage by themselves")
def test_gaps_in_the_heap_are_given_back() -> None:
    blocks = [torch.ones(16 * 1024) for _ in range(4000)]  # 64 KiB each, below what malloc maps on its own
    kept = blocks[::40]
    del blocks
    before = resident()
    trim_heap()
    assert resident() < before - 150
    assert all(float(block.sum()) == block.numel() for block in kept)


def test_the_cache_of_kernels_is_bounded_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    limit_kernel_cache()
    assert 0 < int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) < 1024
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    limit_kernel_cache()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
