"""What Prefect, MLflow, Great Expectations and DVC cost beside the main job: `python -m benchmarks.overhead [--toy] [--dvc] [--json FILE]`.

A run of a small project (`--toy`: of the tests' toy world) is timed as a user would time it, then the same command again, which finds
everything done: that is the fixed part. Of the first run, what was not spent in the bodies of tasks is overhead, with Great Expectations;
what it is beyond the fixed part grows with the work. Goals: 10 s fixed, 3 % of the main job.
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
    "evaluate": {"bc_large": False},
    "rollout": {"num_workers": 1},
}
FIXED, SHARE = 10.0, 0.03


def project(folder: Path, toy: bool) -> Path:
    """A project of its own: two worlds and the embedded base model, or the toy world and a model of random weights."""
    if toy:
        from tests.flows.tiny import make_project

        return make_project(folder)
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")
    return folder


def first_time(folder: Path, toy: bool) -> None:
    """Make the databases and the data, which no later run pays for, by a run of another seed."""
    meter.run(folder, "evolve", "-S", "evolve.iterations=1", "-S", "finetune.epochs=1", "-S", "seed=9", toy=toy)


def dvc(folder: Path, toy: bool) -> tuple[float, float]:
    """Seconds of the command alone and by `dvc repro`; both find all its work done."""
    command = [sys.executable, "-m", "benchmarks.meter", "meter.jsonl", *(["--toy"] if toy else []), "evolve"]
    quoted = " ".join(f"'{part}'" for part in command)
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"evolve": {"cmd": quoted, "params": ["evolve"]}}}), encoding="utf-8")
    for start in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(start, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    took = []
    for asked in (command, [sys.executable, "-m", "dvc", "repro", "--force"]):
        began = time.perf_counter()
        subprocess.run(asked, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        took.append(time.perf_counter() - began)
    return took[0], took[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--dvc", action="store_true", help="also `dvc repro`")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = project(Path(place) / "project", asked.toy)
        first_time(folder, asked.toy)
        first, again = (meter.run(folder, "evolve", toy=asked.toy) for _ in range(2))
        repro = dvc(folder, asked.toy) if asked.dvc else None
    beside = first.wall - first.main_job
    grows = max(0.0, beside - again.wall)
    rows = [
        ("main job: bodies of tasks", f"{first.main_job:.1f}", ""),
        ("Great Expectations", f"{first.great_expectations:.1f}", f"{len(first.bodies)} bodies ran"),
        ("all beside the main job", f"{beside:.1f}", f"{100 * grows / first.main_job:.1f} % of it beyond the fixed part"),
        ("allowed beside it", f"{FIXED + SHARE * first.main_job:.1f}", f"{FIXED:.0f} s and {100 * SHARE:.0f} % of the main job"),
        ("fixed: everything is done", f"{again.wall:.1f}", f"{again.cpu:.1f} s of processors, {again.before:.1f} s before the flow began"),
    ]
    if repro:
        rows.append(("DVC: `dvc repro` more than the command", f"{repro[1] - repro[0]:.1f}", ""))
    print(f"{machine()}\n")
    print(meter.table(["what", "seconds", ""], rows))
    figures = {
        "fixed": again.wall,
        "fixed cpu": again.cpu,
        "beside": beside,
        "main job": first.main_job,
        "dvc": repro and repro[1] - repro[0],
    }
    record(asked.json, "overhead", {"main job of main job and what grows with it": first.main_job / (first.main_job + grows)}, figures)


if __name__ == "__main__":
    main()
