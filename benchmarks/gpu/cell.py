"""One cell of the GPU command, in a process of its own: `python -m benchmarks.gpu.cell CELL RESULT.json [--dry-run] [--model FOLDER]`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agentevol.parent_process import end_with_parent
from benchmarks.gpu.playing import BASE

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cell")
    parser.add_argument("result", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    end_with_parent()
    start = time.perf_counter()
    line = measure(args.cell, args.model, args.result.parent, dry_run=args.dry_run)
    args.result.write_text(json.dumps({**line, "seconds": round(time.perf_counter() - start, 1)}), encoding="utf-8")


def measure(cell: str, model: Path | None, folder: Path, *, dry_run: bool) -> dict[str, Any]:
    """`figures`, or `skipped` and an `error` that says why there are none."""
    if cell == "tests":
        return {"figures": run_tests()}
    if cell.startswith("training-"):
        from benchmarks.gpu import training

        return {"figures": training.measure(cell.removeprefix("training-"), dry_run=dry_run)}
    if cell == "playing-transformers":
        from benchmarks.gpu import playing

        return {"figures": playing.measure_transformers(dry_run=dry_run)}
    if cell == "playing-vllm":
        if importlib.util.find_spec("vllm") is None:
            return {"skipped": True, "error": "not run: vLLM is not installed"}
        from benchmarks.gpu import playing

        return {"figures": playing.measure_vllm(dry_run=dry_run)}
    from benchmarks.gpu import loop

    if dry_run:  # the embedded model takes the place of the real one; nothing of it is kept
        with tempfile.TemporaryDirectory() as temporary:
            return {"figures": loop.measure(model or BASE, Path(temporary), dry_run=True)}
    if model is None or not (model / "config.json").is_file():
        return {"skipped": True, "error": "not run: no model given (--model FOLDER)"}
    return {"figures": loop.measure(model, folder / "loop", dry_run=False)}


def run_tests() -> dict[str, Any]:
    """The tests of the GPU. Raises SystemExit with the last lines of pytest if one fails."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/agentevol/gpu"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(result.stdout[-8000:], result.stderr[-2000:])
    counts = {
        name: int(count) for count, name in re.findall(r"(\d+) (passed|failed|skipped|error)", result.stdout.strip().splitlines()[-1])
    }
    if result.returncode or not counts.get("passed"):
        raise SystemExit(f"the GPU's tests failed: {counts or result.stdout[-300:]}")
    return counts


if __name__ == "__main__":
    main()
