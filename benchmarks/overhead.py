"""The overhead of Prefect, MLflow, Great Expectations and DVC: `python -m benchmarks.overhead [--toy] [--dvc] [--json FILE]`.

A run of a small project (`--toy`: with the tests' toy environment) is timed as a user would time it, then the same command again, which
reuses everything: that time is the fixed part. The time of the first run outside of task bodies, plus Great Expectations, is overhead; the
part of it beyond the fixed part grows with the work. Goals: 10 s fixed, 3 % of the main job.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks import meter
from benchmarks.results import machine, record

ROOT = Path(__file__).parents[1]
SMALL: dict[str, Any] = {
    "environments": ["maze", "wordle"],
    "data": {"limits": {"train": 20, "train_large": 40, "explore": 20, "eval": 10}},
    "evolve": {"iterations": 2},
    "evaluate": {"bc_large": False, "zero_shot": False},
    "rollout": {"num_workers": 1},
}
FIXED, SHARE = 10.0, 0.03


def project(folder: Path, toy: bool) -> Path:
    """A new project: two environments and the embedded base model, or the toy environment and a model with random weights."""
    if toy:
        from tests.flows.tiny import make_project

        return make_project(folder)
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")
    return folder


def first_time(folder: Path, toy: bool) -> None:
    """Create the databases and the data with a run of another seed, so that the timed runs do not."""
    meter.run(folder, "evolve", "-S", "evolve.iterations=1", "-S", "finetune.epochs=1", "-S", "seed=9", toy=toy)


def dvc(folder: Path, toy: bool) -> tuple[float, float]:
    """Seconds of the command alone and of `dvc repro`; both reuse all results."""
    command = [sys.executable, "-m", "benchmarks.meter", "meter.jsonl", *(["--toy"] if toy else []), "evolve"]
    quoted = " ".join(f"'{part}'" for part in command)
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"evolve": {"cmd": quoted, "params": ["evolve"]}}}), encoding="utf-8")
    for start in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(start, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    seconds = []
    for arguments in (command, [sys.executable, "-m", "dvc", "repro", "--force"]):
        start_time = time.perf_counter()
        subprocess.run(arguments, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start_time)
    return seconds[0], seconds[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--dvc", action="store_true", help="also `dvc repro`")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = project(Path(place) / "project", options.toy)
        first_time(folder, options.toy)
        first, repeated = (meter.run(folder, "evolve", toy=options.toy) for _ in range(2))
        repro = dvc(folder, options.toy) if options.dvc else None
    overhead = first.wall - first.main_job
    variable = max(0.0, overhead - repeated.wall)
    rows = [
        ("main job: task bodies", f"{first.main_job:.1f}", ""),
        ("Great Expectations", f"{first.great_expectations:.1f}", f"{len(first.bodies)} bodies ran"),
        ("total overhead", f"{overhead:.1f}", f"the variable part is {100 * variable / first.main_job:.1f} % of the main job"),
        ("allowed overhead", f"{FIXED + SHARE * first.main_job:.1f}", f"{FIXED:.0f} s and {100 * SHARE:.0f} % of the main job"),
        ("fixed: everything reused", f"{repeated.wall:.1f}", f"{repeated.cpu:.1f} s of CPU time, {repeated.before:.1f} s before the flow"),
    ]
    if repro:
        rows.append(("DVC: extra time of `dvc repro`", f"{repro[1] - repro[0]:.1f}", ""))
    print(f"{machine()}\n")
    print(meter.table(["what", "seconds", ""], rows))
    figures = {
        "fixed": repeated.wall,
        "fixed cpu": repeated.cpu,
        "beside": overhead,
        "main job": first.main_job,
        "dvc": repro and repro[1] - repro[0],
    }
    record(options.json, "overhead", {"main job of main job and what grows with it": first.main_job / (first.main_job + variable)}, figures)


if __name__ == "__main__":
    main()
