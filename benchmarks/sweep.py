"""The cost of a sweep over M in {1, 2, 3, 4} and K in {1, 2, 3}: `python -m benchmarks.sweep [--toy] [--json FILE]`.

The real `agentevol sweep` on a small project (`--toy`: with the tests' toy environment). It compares the work done (every task body that
ran), the distinct work (each result once), and the work of the cells if each ran alone (counted from the results that each depends on).
Goal: the sweep takes at most 1.1 times the distinct work.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import meter
from benchmarks.overhead import first_time, project
from benchmarks.results import machine, record

GOAL = 1.1
STEPS = {"finetune": "learn", "roll-out-chunk": "rollout"}
"""The expensive tasks, with their names in the table; all others are `data and gates`."""


def manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifests of the store, by key."""
    files = (folder / "runs" / "store").glob("*/manifest.json")
    return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in files}


def needed_results(run: Mapping[str, Any], store: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The keys of all results that a run depends on: those in its run.json, the chunks of its episodes, its gates and scores."""
    named = {Path(part["path"]).parts[2] for parts in run.values() for part in parts.values() if part["path"].startswith("runs/store/")}
    named &= set(store)
    digests = {store[key]["artifact"]["digest"] for key in named}
    chunks = {one["digest"] for key in named for one in store[key]["inputs"].get("chunks", ())}
    by_task = {"roll_out_chunk": ("", chunks), "validate": ("data", digests), "score": ("episodes", digests)}

    def belongs(manifest: Mapping[str, Any]) -> bool:
        input_name, expected = by_task.get(manifest["task"], ("", set()))
        return (manifest["inputs"][input_name] if input_name else manifest["artifact"])["digest"] in expected

    return named | {key for key, manifest in store.items() if belongs(manifest)}


def step(key: str) -> str:
    return STEPS.get(key.rpartition("-v")[0], "data and gates")


def totals(bodies: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Per step: tasks, seconds, episodes, rollout tokens, trained tokens."""
    sums: dict[str, dict[str, float]] = {}
    for body in bodies:
        name = step(body["key"])
        total = sums.setdefault(name, dict.fromkeys(("tasks", "seconds", "episodes", "tokens", "trained_tokens"), 0))
        total["tasks"] += 1
        total["seconds"] += body["seconds"]
        for what in {"rollout": ("episodes", "tokens"), "learn": ("trained_tokens",)}.get(name, ()):
            total[what] += body.get(what, 0)
    return sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--iterations", default="[1,2,3,4]")
    parser.add_argument("--samples", default="[1,2,3]")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    grid = ["-S", f"sweep.iterations={options.iterations}", "-S", f"sweep.samples={options.samples}", "-S", "sweep.seeds=[0]"]
    with tempfile.TemporaryDirectory() as place:
        folder = project(Path(place) / "project", options.toy)
        first_time(folder, options.toy)
        before = set(manifests(folder))
        done = meter.run(folder, "sweep", *grid, "--name", "grid", toy=options.toy)
        again = meter.run(folder, "sweep", *grid, "--name", "grid", toy=options.toy)
        store = manifests(folder)
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "runs").glob("M*-s0-*/run.json"))]
    distinct = {body["key"]: body for body in done.bodies}
    cells = [body for run in runs for key in needed_results(run, store) - before if (body := distinct.get(key))]
    columns = {"cells alone": totals(cells), "done": totals(done.bodies), "distinct": totals(distinct.values())}
    rows: list[tuple[object, ...]] = []
    for name in ("learn", "rollout", "data and gates"):
        for what in {"learn": ("tasks", "seconds", "trained_tokens"), "rollout": ("tasks", "seconds", "episodes", "tokens")}.get(
            name, ("tasks", "seconds")
        ):
            found = [column.get(name, {}).get(what, 0.0) for column in columns.values()]
            shared = f"{100 * (1 - found[2] / found[0]):.0f} %" if found[0] else "-"
            rows.append((f"{name}: {what.replace('_', ' ')}", *(f"{value:,.0f}" for value in found), shared))
    print(f"{machine()}; {len(runs)} runs in the project, M = {options.iterations}, K = {options.samples}\n")
    print(meter.table(["work", *columns, "shared"], rows))
    work = sum(body["seconds"] for body in distinct.values())
    print(f"\nthe sweep took {done.wall:.1f} s, {done.wall / work:.2f} times the distinct work of {work:.1f} s (goal {GOAL})")
    print(f"of that, the same sweep with everything reused takes {again.wall:.1f} s ({again.cpu:.1f} s of CPU time)")
    repeated = sum(body["seconds"] for body in done.bodies) / work
    ratios = {"distinct work over work done": 1 / repeated, "distinct work over the sweep's time": work / done.wall}
    record(options.json, "sweep", ratios, {"wall": done.wall, "distinct": work, "again": again.wall, **columns})


if __name__ == "__main__":
    main()
