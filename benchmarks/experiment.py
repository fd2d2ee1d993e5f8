"""The experiment of docs/results.md: `python -m benchmarks.experiment [PART ...] [--minutes N]`, parameters in params-experiment.yaml.

Each part is an `agentevol sweep`. What it leaves in docs/results/records is committed, so that a part is done once, on whatever machine and
day; a part that was cut off goes on from runs/store where that is still there. The report of all records is made anew after each part.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PARAMS, RESULTS = Path("params-experiment.yaml"), Path("docs") / "results"
RECORDS = RESULTS / "records"


def grid(seed: int, *, iterations: int = 4, **varied: str) -> list[str]:
    return [f"sweep.seeds=[{seed}]", f"sweep.iterations=[{iterations}]", *(f"sweep.{name}={values}" for name, values in varied.items())]


MAIN = {f"main-{seed}": grid(seed) for seed in (0, 1, 2)}
LONGER = {"M6-0": grid(0, iterations=6)}


def varied(seed: int) -> dict[str, list[str]]:
    """What one seed is asked besides the main comparison, the question that is asked most first."""
    return {
        f"K3-{seed}": grid(seed, samples="[3]"),
        f"merge-{seed}": grid(seed, merge="[cumulative,none]"),
        f"start-{seed}": grid(seed, start_from="[previous]"),
        f"learning-{seed}": grid(seed, rule="[threshold]"),
        f"K2-{seed}": grid(seed, samples="[2]"),
    }


VARIED = varied(0) | varied(1) | varied(2)
# BC-Large is the same in all of a seed's parts but that of another rule; the main one has it.
PARTS = (
    MAIN
    | LONGER
    | {name: overrides if "learning" in name else [*overrides, "evaluate.bc_large=false"] for name, overrides in VARIED.items()}
)
"""In the order in which they are worth their time: the main comparison first."""


def done() -> set[str]:
    """The parts whose records are there, whatever made them."""
    marks = RECORDS / "parts.txt"
    return set(marks.read_text(encoding="utf-8").split()) if marks.is_file() else set()


def run(part: str) -> None:
    """Raises CalledProcessError."""
    overrides = [piece for override in PARTS[part] for piece in ("-S", override)]
    agentevol("sweep", "--params", str(PARAMS), "--name", f"experiment-{part}", *overrides)
    RECORDS.mkdir(parents=True, exist_ok=True)
    for record in (Path("runs") / "sweeps" / f"experiment-{part}" / "records").glob("*.json"):
        keep(record)
    finished = {*done(), part}
    (RECORDS / "parts.txt").write_text("".join(f"{name}\n" for name in PARTS if name in finished), encoding="utf-8")
    agentevol("compare", str(RECORDS), "--out", str(RESULTS), "--title", "The experiment")


def keep(record: Path) -> None:
    """The longest run of a setting and seed is kept: it contains the others."""
    _, setting = record.name.split("-", 1)
    there = list(RECORDS.glob(f"M*-{setting}"))
    if all(iterations(record) >= iterations(other) for other in there):
        for other in there:
            other.unlink()
        shutil.copy(record, RECORDS)


def iterations(record: Path) -> int:
    return int(record.name.split("-")[0].removeprefix("M"))


def agentevol(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "flows.cli", *arguments], check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"by default all that are not done: {', '.join(PARTS)}")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further part after so many")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    began = time.monotonic()
    for part in asked.parts or [part for part in PARTS if part not in done()]:
        if time.monotonic() - began > 60 * asked.minutes:
            print(f"{asked.minutes:g} minutes are over; run the same command again to go on with {part}")
            return
        since = time.monotonic()
        run(part)
        print(f"{part}: {(time.monotonic() - since) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
