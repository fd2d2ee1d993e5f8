"""Everything that has to be measured on a GPU: `python -m benchmarks.gpu [--out FOLDER] [--model FOLDER] [--wheels FOLDER] [--dry-run]`.

At most 8 minutes on a card of 80 GB, without a network. Cells, in the order of their value; each runs in a process of its own:
- tests: the tests of the GPU (tests/agentevol/gpu);
- training-0.6, -1.5, -0.3: billions of random parameters, against bare forward and backward passes and the matrix rate of the same run;
- playing-transformers, playing-vllm: against Hugging Face's `generate` and vLLM's own loop, on the same prompts;
- loop: zero-shot, behavioural cloning and one iteration on the model in `--model` (for example of `python -m benchmarks.real_model`).

Results: JSON lines in FOLDER/results.jsonl and a table. A cell with figures is not measured again (`--again` does); one that failed or had
no time left is tried again by the next call. `--wheels`: a folder of wheels that this machine lacks; they are unpacked, not installed.
`--dry-run`: the same lines with tiny sizes on any machine; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from benchmarks.gpu.report import append, is_done, read, table
from benchmarks.meter import ROOT, command_environment

SECONDS = 480
LIMITS = {
    "tests": 90,
    "training-0.6": 75,
    "playing-transformers": 100,
    "training-1.5": 90,
    "playing-vllm": 150,
    "training-0.3": 60,
    "loop": 240,
}
"""Seconds that a cell may take; a cell is not started if less than a third of that is left."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu")
    parser.add_argument("--model", type=Path, help="a folder with a real model, for the cell `loop`")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels to unpack")
    parser.add_argument("--cells", nargs="+", choices=list(LIMITS), default=list(LIMITS), metavar="CELL")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all cells together")
    parser.add_argument("--again", action="store_true", help="measure cells that have figures again")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, on any machine")
    args = parser.parse_args(arguments)
    end = time.monotonic() + args.seconds
    args.out.mkdir(parents=True, exist_ok=True)
    file, packages = args.out / "results.jsonl", args.out / "packages"
    if args.wheels:
        unpack_wheels(args.wheels, packages)
    environment = command_environment(packages)
    environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    device = _device(environment)
    if device == "CPU" and not args.dry_run:
        print("there is no GPU here: not run. `--dry-run` executes the same lines with tiny sizes")
        return 2
    for cell in args.cells:
        if is_done(read(file).get(cell), device, args.dry_run) and not args.again:
            continue
        limit = min(LIMITS[cell], end - time.monotonic())
        if limit < LIMITS[cell] / 3:
            line: dict[str, Any] = {"error": "not run: no time left; run the same command again"}
        else:
            line = _run_cell(cell, args, environment, limit)
        append(file, {"cell": cell, "device": device, "dry run": args.dry_run, **line})
        print(f"{cell}: {line.get('error') or 'measured'}", flush=True)
    cells = read(file)
    text = f"{device}{', dry run: the figures mean nothing' if args.dry_run else ''}\n\n{table(cells, args.cells)}"
    (args.out / "results.md").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}")
    return 0 if all("figures" in cells[cell] or cells[cell].get("skipped") for cell in args.cells) else 1


def unpack_wheels(wheels: Path, target: Path) -> None:
    """Unpack the wheels into a folder for PYTHONPATH: no installer and no network is needed."""
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)


def _device(environment: dict[str, str]) -> str:
    code = "from benchmarks.gpu.device import *; print(device_name(pick_device()))"
    result = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()[-1]


def _run_cell(cell: str, args: argparse.Namespace, environment: dict[str, str], limit: float) -> dict[str, Any]:
    """The figures of a cell, or why there are none."""
    result = (args.out / f"{cell}.json").resolve()
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu.cell", cell, str(result), *(["--dry-run"] if args.dry_run else [])]
    command += ["--model", str(args.model.resolve())] if args.model else []
    with (args.out / f"{cell}.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.PIPE, start_new_session=True
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
            process.wait()
            return {"error": f"stopped after {limit:.0f} s; its log is {args.out / f'{cell}.log'}"}
        log.seek(0)
        lines = log.read().strip().splitlines()
    if code:
        return {"error": f"ended with code {code}: {lines[-1] if lines else '(no output)'}"}
    figures: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return figures


if __name__ == "__main__":
    raise SystemExit(main())
