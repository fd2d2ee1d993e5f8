"""Which number format `auto` is: bfloat16 only where the processor says that it computes in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentevol.training import precision


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_GPU_DEVICES", ())


@pytest.mark.parametrize(
    ("flags", "chosen"),
    [
        ("fpu sse2 avx2 avx512f avx512_bf16", "bfloat16"),
        ("fpu amx_bf16 amx_tile", "bfloat16"),
        ("fpu sse2 avx2", "float32"),
        ("fpu avx512f avx512bw", "float32"),
    ],
)
def test_auto_goes_by_the_processor(flags: str, chosen: str, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbogomips\t: 1\n")
    assert precision.resolve("auto", cpuinfo) == chosen
    assert precision.resolve("float32", cpuinfo) == "float32"
    assert precision.resolve("bfloat16", cpuinfo) == "bfloat16"


def test_where_the_processor_is_not_told_it_is_float32(tmp_path: Path) -> None:
    assert precision.resolve("auto", tmp_path / "none") == "float32"
