"""The number format of a training: `auto` is bfloat16 where the processor or GPU computes it in hardware, else float32.

Invariant: the answer depends only on the kind of machine, never on a measurement, so the same machine gives the same weights. Where
bfloat16 is emulated, a matrix product takes eighty times as long as in float32 (docs/lab-notes.md).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Literal

Precision = Literal["float32", "bfloat16"]

_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd")


def resolve_precision(precision: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> Precision:
    """The format that `auto`, `float32` or `bfloat16` means on this machine. Imports torch only on a machine with a GPU."""
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
    except OSError:  # not Linux: float32 works everywhere
        return False
    return bool(_CPU_FLAGS & set(flags.split()))


def inference_dtype(precision: str, model_folder: Path) -> str:
    """The torch dtype in which the `transformers` engine plays the model in a folder.

    `auto` is float32 on a CPU, where results are the same to the bit; on a GPU it is the model's own type of 16 bits, or bfloat16.
    """
    import torch

    if precision != "auto" or not torch.cuda.is_available():
        return "bfloat16" if precision == "bfloat16" else "float32"
    config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    own = config.get("dtype") or config.get("torch_dtype") or (config.get("text_config") or {}).get("dtype")
    if own in ("bfloat16", "float16") and (own == "float16" or torch.cuda.is_bf16_supported(including_emulation=False)):
        return str(own)
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
