"""Learning rules, adaptive samples and a learned reward: `python -m benchmarks.rules [PART ...] [--jobs 2] [--minutes N] [--toy]`.

Parameters in params-rules.yaml. Every policy makes the same number of updates. Each part is an `agentevol sweep` of one seed; what parts
have in common is played and trained once. A part with records in docs/results/rules/records is not run again, and an interrupted one
continues from runs/store. The reports in docs/results/rules are written again after every part (benchmarks/rules_report.py).

- rules, base: four rules from the previous policy, and reward_weighted from the base model; K = 4, one iteration.
- token-mean: grpo as in rules, but each token counts the same instead of each episode.
- length-normalized: dpo as in rules, but with a margin per token, and 20 as its β (0.1 times the mean tokens of an episode's answers).
- three-episodes: K = 3 and adaptive samples, three episodes per instruction, one iteration.
- one-episode: K = 1 and adaptive samples, one episode per instruction, two iterations (the first is the same for both).
- learned, environment: a verifier's reward (at least 0.5) and the environment's, both with filter.keep positive; K = 4, one iteration.

Estimated for two slow cores (2 s per update, 800 episodes in 3.5 minutes on a core): rules and base 2.2 hours, everything 4.8 hours.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agentevol.settings.load import load_params
from benchmarks.meter import ROOT, command_environment
from benchmarks.parts import add_finished_part, finished_parts
from benchmarks.rules_report import write_reports

PARAMS, RESULTS = "params-rules.yaml", Path("docs") / "results" / "rules"
SEEDS = (0, 1, 2)
TOY: dict[str, Any] = {
    "data": {"limits": {"explore": 6, "validation": 0}},
    "finetune": {"max_steps": 6, "batch_tokens": 512, "max_tokens": 512},
}
"""What --toy changes in params-rules.yaml, besides the parameters of the tests' toy environment."""


@dataclass(frozen=True, slots=True)
class Part:
    """A sweep of one seed. `comparison`: the folder of its records; records of one folder are compared in one report."""

    comparison: str
    overrides: tuple[str, ...]


def parts(explored: int) -> dict[str, Part]:
    """By name, the most important first. `explored`: the number of explored instructions."""
    sweeps = {
        "rules": Part("rules", ("sweep.start_from=[previous]", "sweep.rule=[reward_weighted,threshold,dpo,grpo]")),
        "base": Part("rules", ()),
        "token-mean": Part("token-mean", ("sweep.start_from=[previous]", "sweep.rule=[grpo]", "grpo.loss_aggregation=token_mean")),
        "length-normalized": Part(
            "length-normalized", ("sweep.start_from=[previous]", "sweep.rule=[dpo]", "dpo={length_normalized: true, beta: 20}")
        ),
        "three-episodes": Part("three-episodes", ("sweep.samples=[3,adaptive]", f"evolve.budget={3 * explored}")),
        "learned": Part("learned", ("filter={keep: positive, reward: learned, min_reward: 0.5}",)),
        "environment": Part("environment", ("filter={keep: positive}",)),
        "one-episode": Part("one-episode", ("sweep.samples=[1,adaptive]", f"evolve.budget={explored}", "sweep.iterations=[2]")),
    }
    # All seeds of one sweep before the next: parts of different seeds have nothing in common, so those that run side by side do not wait.
    of_seeds = [(name, part, seed) for name, part in sweeps.items() for seed in SEEDS]
    return {f"{name}-{seed}": Part(part.comparison, (*part.overrides, f"sweep.seeds=[{seed}]")) for name, part, seed in of_seeds}


@dataclass(frozen=True, slots=True)
class Experiment:
    """`folder`: the project; `program`: the module of the command line; `seconds`: no part is started after so many."""

    folder: Path
    program: str = "flows.cli"
    jobs: int = 2
    seconds: float = float("inf")

    @property
    def results(self) -> Path:
        return self.folder / RESULTS

    def all_parts(self) -> dict[str, Part]:
        params = load_params(self.folder / PARAMS)
        return parts((params.data.limits.explore or 0) * len(params.environments))

    def finished(self) -> set[str]:
        """The parts whose records exist."""
        return finished_parts(self.results / "records")

    def run(self, names: Sequence[str]) -> list[str]:
        """Run these parts, `jobs` at a time; returns those that failed."""
        start, todo, failed = time.monotonic(), deque(names), []
        running: dict[Future[None], str] = {}
        with ThreadPoolExecutor(self.jobs) as pool:
            while todo or running:
                while todo and len(running) < self.jobs and time.monotonic() - start <= self.seconds:
                    name = todo.popleft()
                    running[pool.submit(self.sweep, name)] = name
                if not running:
                    print(f"{self.seconds / 60:g} minutes are over; run the same command again to continue with {todo[0]}")
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name = running.pop(future)
                    if future.exception() is None:
                        self.keep(name)
                        print(f"{name}: finished after {(time.monotonic() - start) / 60:.1f} min", flush=True)
                    else:
                        failed.append(name)
                        print(f"{name}: failed ({future.exception()}); see {self.log(name)}", file=sys.stderr, flush=True)
        return failed

    def log(self, name: str) -> Path:
        return self.folder / "runs" / "rules" / f"{name}.log"

    def sweep(self, name: str) -> None:
        """Raises CalledProcessError."""
        overrides = [argument for override in self.all_parts()[name].overrides for argument in ("-S", override)]
        command = [sys.executable, "-m", self.program, "sweep", "--params", PARAMS, "--name", f"rules-{name}", *overrides]
        self.log(name).parent.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("a", encoding="utf-8") as log:
            print(f"{name}: started, log: {self.log(name)}", flush=True)
            subprocess.run(command, cwd=self.folder, env=command_environment(), stdout=log, stderr=subprocess.STDOUT, check=True)

    def keep(self, name: str) -> None:
        """Copy the records of a finished part, and write the reports again."""
        folder = self.results / "records" / self.all_parts()[name].comparison
        folder.mkdir(parents=True, exist_ok=True)
        for record in (self.folder / "runs" / "sweeps" / f"rules-{name}" / "records").glob("*.json"):
            shutil.copy(record, folder)
        add_finished_part(self.results / "records", name, self.all_parts())
        write_reports(self.results)


def toy_project(folder: Path) -> Path:
    from tests.flows.tiny import PARAMS as toy
    from tests.flows.tiny import make_project

    params = yaml.safe_load((ROOT / PARAMS).read_text(encoding="utf-8"))
    for name in {*toy, *params, *TOY}:
        layers = [layer[name] for layer in (toy, params, TOY) if name in layer]
        params[name] = {key: value for layer in layers for key, value in layer.items()} if isinstance(layers[-1], dict) else layers[-1]
    make_project(folder)
    (folder / PARAMS).write_text(yaml.safe_dump(params), encoding="utf-8")
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="by default all unfinished ones, e.g. rules-0, learned-1")
    parser.add_argument("--jobs", type=int, default=2, help="parts that run side by side, each on one core")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no further part after that many minutes")
    parser.add_argument("--toy", action="store_true", help="the tests' toy environment in a temporary project; prints the report")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        if options.toy:
            from tests.flows.tiny import register

            register()
        folder = toy_project(Path(place) / "project") if options.toy else Path.cwd()
        program = "tests.flows.tiny" if options.toy else "flows.cli"
        experiment = Experiment(folder, program, options.jobs, 60 * options.minutes)
        known = experiment.all_parts()
        if unknown := set(options.parts) - set(known):
            parser.error(f"no such part: {', '.join(sorted(unknown))}; the parts are {', '.join(known)}")
        finished = experiment.finished()
        failed = experiment.run(options.parts or [name for name in known if name not in finished])
        if options.toy and (report := experiment.results / "results.md").is_file():
            print(report.read_text(encoding="utf-8"))
        for name in failed if options.toy else ():
            print(experiment.log(name).read_text(encoding="utf-8")[-3000:], file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
