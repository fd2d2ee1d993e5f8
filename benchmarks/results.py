"""The results file of the benchmarks, which `python -m benchmarks.check` compares with the committed baseline.

Invariant: a ratio is of two measurements of one run on the same work, and more is better. Other figures are recorded and not compared.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def record(path: Path | None, benchmark: str, ratios: Mapping[str, float], figures: Mapping[str, Any] | None = None) -> None:
    """Add the results of a benchmark to the file, which keeps those of other benchmarks. Does nothing if `path` is None."""
    if path is None:
        return
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    results[benchmark] = {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "ratios": {name: round(value, 4) for name, value in ratios.items()},
        "figures": dict(figures or {}),
    }
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def machine() -> str:
    """The processor, the number of cores, the load average of the last minute, and the version of Python."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    name = names[0] if names else platform.machine()
    return f"{name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
