"""The experiment of docs/results/earlier-base/results.md: `python -m benchmarks.experiment [PART ...] [--minutes N]`.

Parameters in params-experiment.yaml. Each part is an `agentevol sweep`. It is not run again once its records are in
docs/results/experiment/records; the published ones, of the earlier base model, are in docs/results/earlier-base/records. An interrupted
part continues from runs/store if that still exists. The report on all records is rewritten after each part.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.parts import add_finished_part, finished_parts

PARAMS, RESULTS = Path("params-experiment.yaml"), Path("docs") / "results" / "experiment"
RECORDS = RESULTS / "records"


def grid(seed: int, *, iterations: int = 4, **varied: str) -> list[str]:
    return [f"sweep.seeds=[{seed}]", f"sweep.iterations=[{iterations}]", *(f"sweep.{name}={values}" for name, values in varied.items())]


MAIN = {f"main-{seed}": grid(seed) for seed in (0, 1, 2)}
LONGER = {"M6-0": grid(0, iterations=6)}


def varied(seed: int) -> dict[str, list[str]]:
    """The parts of one seed besides the main comparison, the most important first."""
    return {
        f"K3-{seed}": grid(seed, samples="[3]"),
        f"merge-{seed}": grid(seed, merge="[cumulative,none]"),
        f"start-{seed}": grid(seed, start_from="[previous]"),
        f"learning-{seed}": grid(seed, rule="[threshold]"),
        f"K2-{seed}": grid(seed, samples="[2]"),
        f"adaptive-{seed}": grid(seed, samples="[adaptive]"),  # as many episodes as with K = 1
        # All from the previous policy, as dpo and grpo always are.
        f"rules-{seed}": grid(seed, samples="[4]", start_from="[previous]", rule="[reward_weighted,threshold,dpo,grpo]"),
    }


VARIED = varied(0) | varied(1) | varied(2)
# BC-Large is the same in all parts of a seed except for that with another rule; the main part has it.
PARTS = (
    MAIN
    | LONGER
    | {name: overrides if "learning" in name else [*overrides, "evaluate.bc_large=false"] for name, overrides in VARIED.items()}
)
"""In order of importance: the main comparison first."""


def run(part: str) -> None:
    """Raises CalledProcessError."""
    overrides = [argument for override in PARTS[part] for argument in ("-S", override)]
    agentevol("sweep", "--params", str(PARAMS), "--name", f"experiment-{part}", *overrides)
    RECORDS.mkdir(parents=True, exist_ok=True)
    for record in (Path("runs") / "sweeps" / f"experiment-{part}" / "records").glob("*.json"):
        keep(record)
    add_finished_part(RECORDS, part, PARTS)
    agentevol("compare", str(RECORDS), "--out", str(RESULTS), "--title", "The experiment")


def keep(record: Path) -> None:
    """Keep the longest run of each setting and seed: it contains the others."""
    _, setting = record.name.split("-", 1)
    existing = list(RECORDS.glob(f"M*-{setting}"))
    if all(iterations(record) >= iterations(other) for other in existing):
        for other in existing:
            other.unlink()
        shutil.copy(record, RECORDS)


def iterations(record: Path) -> int:
    return int(record.name.split("-")[0].removeprefix("M"))


def agentevol(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "flows.cli", *arguments], check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"by default all unfinished parts: {', '.join(PARTS)}")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no further part after that many minutes")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}")
    start = time.monotonic()
    for part in options.parts or [part for part in PARTS if part not in finished_parts(RECORDS)]:
        if time.monotonic() - start > 60 * options.minutes:
            print(f"{options.minutes:g} minutes are over; run the same command again to continue with {part}")
            return
        part_start = time.monotonic()
        run(part)
        print(f"{part}: {(time.monotonic() - part_start) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
