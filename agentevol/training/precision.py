"""Which number format learning computes in: `auto` takes bfloat16 where the processor or GPU has it in hardware, float32 elsewhere.

Invariant: the answer depends on the kind of machine alone, never on a measurement, so that the same machine gives the same weights. Where
bfloat16 is emulated a matrix product takes eighty times as long as in float32 (docs/lab-notes.md).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

Precision = Literal["float32", "bfloat16"]

_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd")


def resolve(precision: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> Precision:
    """`auto`, `float32` or `bfloat16` as what is computed in on this machine. Imports torch only where there is a GPU to ask about."""
    if precision == "auto":
        return "bfloat16" if _has_bfloat16(cpuinfo) else "float32"
    return "bfloat16" if precision == "bfloat16" else "float32"


@cache
def _has_bfloat16(cpuinfo: Path) -> bool:
    if any(Path(device).exists() for device in _GPU_DEVICES):
        import torch

        if torch.cuda.is_available():
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    except OSError:  # no Linux: float32 is right everywhere
        return False
    return bool(_CPU_FLAGS & set(flags.split()))
