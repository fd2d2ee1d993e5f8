"""A sweep over M, K, seeds and rules: every cell is a run of `evolve`, what cells have in common is computed once, and a report ends it.

Invariant: cells write to the same store by the content of what went in, each result under a lock; so a sweep that was killed goes on where
it stopped, and running more cells at once changes nothing but the time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product

from prefect import flow

from agentevol.data.artifact_folder import digest_json
from agentevol.report.sweep.model import Setting, SweepRun
from agentevol.report.sweep.records import BASE_MODEL, DATA_PREFIX, ENVIRONMENT_PREFIX, RecordError, first_difference, recorded_parameters
from agentevol.settings.effects import comparable_parameters
from agentevol.settings.load import SettingsError
from agentevol.settings.schema import Params, SweepParams
from agentevol.settings.types import Count, Natural
from agentevol.training.precision import resolve
from flows.evolve import evolve, prepare
from flows.pipeline import Job, parameters
from flows.run_page import RunPage
from tasks.env_versions import env_versions
from tasks.progress import say
from tasks.sweep_report import SWEEPS, sweep_report

__all__ = ["cells", "prepare", "short", "sweep"]


@flow(name="sweep", description="A grid over M, K, seeds, merging, starting points and rules, compared in one report.")
def sweep(
    params_file: str = "params.yaml",
    name: str = "",
    iterations: list[Count] | None = None,
    samples: list[Count] | None = None,
    seeds: list[Natural] | None = None,
    overrides: list[str] = [],  # noqa: B006  (Prefect shows the default in its form)
) -> str:
    """Run every cell of the grid and return the report.

    Args:
        params_file: The file of parameters, relative to the project; its section sweep is the grid.
        name: Of the sweep: its experiment in MLflow and its folder below runs/sweeps. By default the grid in short, and six digits of
            what its runs have in common: M1.4-K1.3-s0.1.2-3fa94c.
        iterations: The values of M, instead of sweep.iterations.
        samples: The values of K, instead of sweep.samples.
        seeds: The seeds, instead of sweep.seeds.
        overrides: Further parameters as key=value, e.g. sweep.merge=[initial,none].
    """
    grid_of = {"iterations": iterations, "samples": samples, "seeds": seeds}
    overrides = [*overrides, *(f"sweep.{key}={values}" for key, values in grid_of.items() if values is not None)]
    params = parameters(params_file, overrides=overrides)
    common = comparable_parameters(params, resolve(params.finetune.precision))
    name = name or f"{short(params.sweep)}-{digest_json(common)[:6]}"
    try:
        there = recorded_parameters(SWEEPS / name)
    except RecordError:
        there = {}  # of another version: made anew, as the results are that it was made from
    if found := first_difference(there, common):
        raise SettingsError(f"sweep {name}: there is one with other parameters ({found}); give this one another name (--name)")
    grid = cells(params.sweep)
    say(f"sweep {name}: {len(grid)} runs, {params.sweep.concurrency} at once")
    done = (
        _in_turn(grid, params_file, overrides, name)
        if params.sweep.concurrency == 1
        else _at_once(grid, params, params_file, overrides, name)
    )
    job = Job(params)
    by_chance = job.by_chance()
    sets = {
        f"{DATA_PREFIX}{what}": artifact.digest for what, artifact in (("AgentTraj", job.sets.agenttraj), ("AgentEval", job.sets.agenteval))
    }
    sets |= {f"{ENVIRONMENT_PREFIX}{env}": str(version) for env, version in env_versions(job.sets.agenteval, job.sets.explore).items()}
    page = sweep_report(done, job.sets.explore, by_chance and by_chance[0], name, {**sets, BASE_MODEL: job.base.digest}, common)
    RunPage().links(folder=page)
    return str(page)


def cells(grid: SweepParams) -> list[SweepRun]:
    """The runs in an order in which each finds the most of itself done: by chain, and within a chain by M."""
    chains = product(grid.seeds, grid.merge, grid.start_from, grid.rule, grid.samples)
    return [
        SweepRun(Setting(_written(samples), merge, start, rule), iterations, seed, "")
        for seed, merge, start, rule, samples in chains
        for iterations in sorted(grid.iterations)
    ]


def short(grid: SweepParams) -> str:
    """The grid in short: what varies in merging, starting points and rules is named too."""
    parts = ["M" + ".".join(map(str, grid.iterations)), "K" + ".".join(map(_written, grid.samples)), "s" + ".".join(map(str, grid.seeds))]
    parts += ["-".join(values) for values in (grid.merge, grid.start_from, grid.rule) if len(values) > 1]
    return "_".join(["-".join(parts[:3]), *parts[3:]])


def _written(samples: int | list[int]) -> str:
    return "+".join(map(str, samples)) if isinstance(samples, list) else str(samples)


def _settings(cell: SweepRun) -> list[str]:
    """A cell as overrides of the parameters."""
    setting = cell.setting
    samples = f"[{setting.samples.replace('+', ',')}]" if "+" in setting.samples else setting.samples
    values = {
        "iterations": cell.iterations,
        "samples": samples,
        "merge": setting.merge,
        "start_from": setting.start_from,
        "rule": setting.rule,
    }
    return [f"seed={cell.seed}", *(f"evolve.{key}={value}" for key, value in values.items())]


def _in_turn(grid: Sequence[SweepRun], params_file: str, overrides: Sequence[str], name: str) -> list[SweepRun]:
    done = []
    for number, cell in enumerate(grid, 1):
        say(f"run {number} of {len(grid)}: M = {cell.iterations}, K = {cell.setting.samples}, seed {cell.seed}")
        folder = evolve(params_file=params_file, overrides=[*overrides, *_settings(cell)], experiment=name)
        done.append(SweepRun(cell.setting, cell.iterations, cell.seed, folder))
    return done


def _at_once(grid: Sequence[SweepRun], params: Params, params_file: str, overrides: Sequence[str], name: str) -> list[SweepRun]:
    """Chains side by side, each cell in a process of its own; the cells of a chain one after the other, for they build on each other."""
    chains: defaultdict[tuple[Setting, int], list[SweepRun]] = defaultdict(list)
    for cell in grid:
        chains[cell.setting, cell.seed].append(cell)
    running: list[subprocess.Popen[str]] = []

    def play(chain: Sequence[SweepRun]) -> list[SweepRun]:
        done = []
        for cell in chain:
            given = {"params_file": params_file, "overrides": [*overrides, *_settings(cell)], "experiment": name}
            command = [sys.executable, "-m", "flows.sweep", json.dumps(given)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            running.append(process)
            assert process.stdout is not None
            said = process.stdout.read()
            process.wait()
            if process.returncode:
                raise RuntimeError(
                    f"the run {' '.join(_settings(cell))} failed (its message is above); run the same command again to go on"
                )
            folder = said.strip().splitlines()[-1]
            say(f"M = {cell.iterations}, K = {cell.setting.samples}, seed {cell.seed}: {folder}")
            done.append(SweepRun(cell.setting, cell.iterations, cell.seed, folder))
        return done

    pool = ThreadPoolExecutor(params.sweep.concurrency)
    try:
        return [cell for done in pool.map(play, chains.values()) for cell in done]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in running:
            if process.poll() is None:
                process.terminate()


def _end_with_parent() -> None:
    """The sweep holds the other end of standard input: when that is closed, it is gone, however it went."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print(evolve(**json.loads(sys.argv[1])), flush=True)
