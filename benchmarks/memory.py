"""What trimming the heap costs and saves: `python -m benchmarks.memory [DATASET] [--epochs N] [--intervals 1 4 8 1000000] [--json FILE]`.

First, in a process of its own: frees most of some hundred MiB of small blocks and prints the share of the resident memory that stays after
trim_heap (with glibc about the blocks still in use). With a DATASET (a folder of trajectories such as runs/latest/training-data) it also
fine-tunes the embedded base model on it, in a process for each trim interval, and prints seconds, the highest resident memory, and the
hash of the weights, which must be the same in every row.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import re
import resource
import tempfile
import time
from pathlib import Path

from benchmarks.meter import table
from benchmarks.results import record

BLOCK_FLOATS = 16 * 1024  # 64 KiB, below the size that malloc maps on its own
BLOCKS = 4000


def resident_mib() -> int:
    """The resident memory of this process, in MiB (Linux)."""
    match = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) // 1024


def trim_fragmented_heap() -> tuple[int, int, int]:
    """Resident MiB before the blocks are allocated, after 39 of 40 are freed, and after the heap is trimmed."""
    import torch

    from agentevol.training.heap import trim_heap

    start = resident_mib()
    blocks = [torch.ones(BLOCK_FLOATS) for _ in range(BLOCKS)]
    kept = blocks[::40]
    del blocks
    fragmented = resident_mib()
    trim_heap()
    trimmed = resident_mib()
    assert all(float(block.sum()) == block.numel() for block in kept)
    return start, fragmented, trimmed


def train(dataset: Path, epochs: float, interval: int) -> tuple[object, ...]:
    """Fine-tune with the heap trimmed every `interval` steps; returns a row of the table."""
    from agentevol.settings.finetune import FinetuneParams
    from agentevol.training import finetune

    finetune._TRIM_INTERVAL = interval
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        finetune.finetune(Path("models/base"), dataset, Path(folder), settings=FinetuneParams(), epochs=epochs, seed=0)
        seconds = time.perf_counter() - started
        weights = hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest()
    return interval, f"{seconds:.1f}", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, weights[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--intervals", type=int, nargs="+", default=[1_000_000, 8, 4, 1], help="steps between two trims")
    parser.add_argument("--json", type=Path, help="a file that the ratio is added to (benchmarks.check)")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as process:
        start, fragmented, trimmed = process.apply(trim_fragmented_heap)
    returned = (fragmented - trimmed) / max(1, fragmented - start)
    print(
        f"a fragmented heap: {start} MiB at the start, {fragmented} MiB before trimming, {trimmed} MiB after it ({returned:.0%} returned)"
    )
    record(arguments.json, "memory", {"share of the freed heap that trimming returns": round(returned, 3)})
    if arguments.dataset is None:
        return
    rows = []
    for interval in arguments.intervals:
        with context.Pool(1) as process:
            rows.append(process.apply(train, (arguments.dataset.resolve(), arguments.epochs, interval)))
    print(table(["steps between trims", "seconds", "highest resident MiB", "weights"], rows))


if __name__ == "__main__":
    main()
