"""What giving memory back costs and saves in a training: `python -m benchmarks.memory DATASET [--epochs N] [--every 1 4 8 1000000]`.

Fine-tunes the embedded base model on a dataset of trajectories (such as runs/latest/training-data) in a process of its own for each
setting, and prints seconds, the highest and the last resident memory, and the weights' hash, which must be one and the same.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

from benchmarks.meter import table


def once(dataset: Path, epochs: float, every: int) -> tuple[object, ...]:
    from agentevol.settings.schema import FinetuneParams
    from agentevol.training import finetune

    finetune._GIVE_BACK_EVERY = every
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        finetune.finetune(Path("models/base"), dataset, Path(place), settings=FinetuneParams(), epochs=epochs, seed=0)
        took = time.perf_counter() - began
        weights = hashlib.sha256((Path(place) / "model.safetensors").read_bytes()).hexdigest()
    return every, f"{took:.1f}", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, weights[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--every", type=int, nargs="+", default=[1_000_000, 8, 4, 1])
    asked = parser.parse_args()
    rows = []
    for every in asked.every:
        with multiprocessing.get_context("spawn").Pool(1) as alone:
            rows.append(alone.apply(once, (asked.dataset.resolve(), asked.epochs, every)))
    print(table(["given back every ... steps", "seconds", "highest resident MiB", "weights"], rows))


if __name__ == "__main__":
    main()
