"""The number format that `auto` means: bfloat16 only where the processor computes it in hardware."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentevol.training import precision


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_GPU_DEVICES", ())


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu sse2 avx2 avx512f avx512_bf16", "bfloat16"),
        ("fpu amx_bf16 amx_tile", "bfloat16"),
        ("fpu sse2 avx2", "float32"),
        ("fpu avx512f avx512bw", "float32"),
    ],
)
def test_auto_depends_on_the_processor(flags: str, expected: str, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbogomips\t: 1\n")
    assert precision.resolve_precision("auto", cpuinfo) == expected
    assert precision.resolve_precision("float32", cpuinfo) == "float32"
    assert precision.resolve_precision("bfloat16", cpuinfo) == "bfloat16"


def test_an_unknown_processor_computes_in_float32(tmp_path: Path) -> None:
    assert precision.resolve_precision("auto", tmp_path / "none") == "float32"
