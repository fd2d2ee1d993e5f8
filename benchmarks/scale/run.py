"""A run with 1,000 nodes, 10 million trajectories and 1,000 iterations: `python -m benchmarks.scale.run [--costs FILE] [--save FILE]`.

Measures what the parts of a run cost on this machine (two minutes on an idle core), then computes the run from these costs, and prints how
the time of the last iteration and the use of the nodes change with the number of nodes. `--costs`: measured before, with `--save`; nothing
is measured then. `--task-runs`: over so many task runs Prefect's time is measured.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.meter import table
from benchmarks.results import machine
from benchmarks.scale.simulation import PARTS, Costs, Workload, simulate, sizes, total_seconds

NODES = (1, 10, 100, 1000)
SMALL = Workload()
LARGE = replace(SMALL, model_bytes=16e9)
SCENARIOS = {
    "a model of 11 MB, S3": SMALL,
    "the same, a shared folder": replace(SMALL, shared=False),
    "a model of 16 GB, S3": LARGE,
    "the same, chunks of 100 episodes": replace(LARGE, chunk_size=100),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costs", type=Path, help="use the costs in this file")
    parser.add_argument("--save", type=Path, help="write the measured costs to this file")
    parser.add_argument("--task-runs", type=int, default=100)
    arguments = parser.parse_args()
    measured = read(arguments.costs) if arguments.costs else measure(arguments.task_runs)
    if arguments.save:
        arguments.save.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    costs = Costs(**{**measured["costs"], "remote_requests": tuple(measured["costs"]["remote_requests"])})
    print(f"measured {measured['when']}, {measured['machine']}\n")
    print(table(["cost", "measured"], [(name, _figure(value)) for name, value in asdict(costs).items()]))
    print(f"\n{table(['task runs', 'head', 'server', 'wall'], curve_rows(measured['curve']))}")
    for title, work in SCENARIOS.items():
        print(f"\n{title}\n")
        print(table(["nodes", *PARTS, "seconds", "nodes play"], scenario_rows(costs, work)))
        print(f"\nall iterations with {work.nodes} nodes: {total_seconds(costs, work) / 3600:,.0f} h")
    print(f"\n{table(['after the run', ''], [(name, f'{value:.3g}') for name, value in sizes(costs, SMALL).items()])}")


def measure(task_runs: int) -> dict[str, Any]:
    """The costs, when and where they were measured, and Prefect's curve."""
    from flows.cli.command import set_quiet_defaults

    set_quiet_defaults()  # before Prefect is imported
    import great_expectations.expectations  # noqa: F401
    import transformers  # noqa: F401

    from benchmarks.scale import costs, datasets

    datasets.steps(Path())  # imports the modules of the steps
    with tempfile.TemporaryDirectory() as folder:
        found, curve = costs.measure(Path(folder), task_runs)
    return {"when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "machine": machine(), "costs": asdict(found), "curve": curve}


def read(file: Path) -> dict[str, Any]:
    measured: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return measured


def scenario_rows(costs: Costs, work: Workload) -> list[list[str]]:
    """For each number of nodes: the parts of the last iteration, and the share of the nodes' time in which they play."""
    rows = []
    for nodes in NODES:
        found = simulate(costs, replace(work, nodes=nodes), work.iterations)
        parts = [f"{getattr(found, name):,.1f}" for name in PARTS]
        rows.append([f"{nodes:,}", *parts, f"{found.seconds:,.0f}", f"{100 * found.busy / (nodes * found.seconds):.0f} %"])
    return rows


def curve_rows(curve: list[Mapping[str, float]]) -> list[list[str]]:
    return [[f"{point['until']:.0f}", *(f"{1000 * point[name]:.0f} ms" for name in ("head", "server", "wall"))] for point in curve]


def _figure(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else f"{value:.3g}"


if __name__ == "__main__":
    main()
