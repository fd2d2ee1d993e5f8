"""Fixed and adaptive samples at the same number of episodes: `python -m benchmarks.exploration [--toy] [--params FILE] [--seed N ...]`.

At one episode per explored instruction: K = 1 on all of them, K = 3 on a third, and adaptive. At three per instruction: K = 3 and adaptive.
Each is a real `agentevol evolve`; what they share is played once. The table counts over all iterations: episodes, instructions with a
success in any iteration, those of them without an expert trajectory, and both by difficulty.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agentevol.data.dataset import stream_dataset
from agentevol.data.exploration import ExplorationGroup, summarize_exploration
from agentevol.data.trajectory import Trajectory
from agentevol.settings.load import load_params
from benchmarks.meter import command_environment, table
from benchmarks.overhead import project
from benchmarks.results import machine
from envs.registry import environment_class

ALL = "K = 1"
"""The arm whose explored instructions are the denominators of all."""


def arms(explore: int, environments: int) -> dict[str, list[str]]:
    """The overrides of each arm. `explore`: instructions per environment."""
    instructions = explore * environments
    return {
        ALL: ["evolve.samples=1"],
        "K = 3, a third of the instructions": ["evolve.samples=3", f"data.limits.explore={explore // 3}"],
        "adaptive, one per instruction": ["evolve.samples=adaptive", f"evolve.budget={instructions}"],
        "K = 3": ["evolve.samples=3"],
        "adaptive, three per instruction": ["evolve.samples=adaptive", f"evolve.budget={3 * instructions}"],
    }


def explored(run: Mapping[str, Any], root: Path) -> Iterator[Trajectory]:
    """The explored episodes of all iterations of a run (its run.json)."""
    for artifacts in run.values():
        if "explored" in artifacts:
            yield from stream_dataset(root / artifacts["explored"]["path"])


def summaries(runs: Mapping[str, Sequence[Mapping[str, Any]]], root: Path) -> dict[str, list[list[ExplorationGroup]]]:
    """By arm and seed, what all iterations together reached of the instructions that K = 1 explored."""
    result: dict[str, list[list[ExplorationGroup]]] = {}
    for arm, of_seeds in runs.items():
        result[arm] = []
        for run, reference in zip(of_seeds, runs[ALL], strict=True):
            names = {row.item_id: row.env for row in explored(reference, root)}
            items = [environment_class(env).instruction(item_id) for item_id, env in names.items()]
            expert_ids = {row.item_id for row in stream_dataset(root / reference["BC-Base"]["learnt from"]["path"])}
            result[arm].append(summarize_exploration(explored(run, root), items, expert_ids))
    return result


def rows(found: Mapping[str, Sequence[Sequence[ExplorationGroup]]]) -> tuple[list[str], list[list[str]]]:
    """One row per arm, means over the seeds: episodes, coverage, coverage without an expert trajectory, and coverage by difficulty."""
    places = dict.fromkeys((group.env, group.difficulty) for groups in found[ALL] for group in groups)

    def cell(runs: Sequence[Sequence[ExplorationGroup]], part: str, whole: str, place: tuple[str, str] | None = None) -> str:
        chosen = [[group for group in groups if place in (None, (group.env, group.difficulty))] for groups in runs]
        parts, wholes = (sum(getattr(group, name) for groups in chosen for group in groups) / len(runs) for name in (part, whole))
        return f"{parts:g} of {wholes:g}"

    lines = []
    for arm, runs in found.items():
        episodes = sum(group.episodes for groups in runs for group in groups) / len(runs)
        by_place = [cell(runs, "covered", "instructions", place) for place in places]
        lines.append(
            [arm, f"{episodes:g}", cell(runs, "covered", "instructions"), cell(runs, "covered_without_expert", "without_expert"), *by_place]
        )
    header = ["arm", "episodes", "with a success", "with a success, not in AgentTraj"]
    return [*header, *(f"{env}, {difficulty}" for env, difficulty in places)], lines


def evolve(folder: Path, toy: bool, overrides: Sequence[str], params: str = "") -> dict[str, Any]:
    """Run `agentevol evolve` in the project; returns its run.json. Raises CalledProcessError."""
    program = "tests.flows.tiny" if toy else "flows.cli"
    command = [
        sys.executable,
        "-m",
        program,
        "evolve",
        *(["--params", params] if params else []),
        *(part for override in overrides for part in ("-S", override)),
    ]
    subprocess.run(command, cwd=folder, env=command_environment(), check=True, stdout=subprocess.DEVNULL)
    return dict(json.loads((folder / "runs" / "latest" / "run.json").read_text(encoding="utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="the tests' toy environment and a model with random weights")
    parser.add_argument("--params", type=Path, help="a parameter file; its project's folder keeps the runs")
    parser.add_argument("--explore", type=int, default=18, help="explored instructions per environment")
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    if options.toy:
        from tests.flows.tiny import register

        register()
    with tempfile.TemporaryDirectory() as place:
        folder = options.params.resolve().parent if options.params else project(Path(place) / "project", options.toy)
        file = options.params.resolve() if options.params else folder / "params.yaml"
        common = [f"evolve.iterations={options.iterations}", f"data.limits.explore={options.explore}", "evaluate.bc_large=false"]
        chosen = arms(options.explore, len(load_params(file).environments))
        runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in chosen}
        for seed in options.seed:
            for arm, overrides in chosen.items():
                runs[arm].append(evolve(folder, options.toy, [*common, *overrides, f"seed={seed}"], file.name))
        header, lines = rows(summaries(runs, folder))
    print(f"{machine()}; M = {options.iterations}, seeds {', '.join(map(str, options.seed))}\n")
    print(table(header, lines))


if __name__ == "__main__":
    main()
