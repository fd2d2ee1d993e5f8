"""A sweep over M, K, seeds and rules: every cell is a run of `evolve`, shared work is computed once, and a report concludes it.

Invariant: cells write to the same store by the content of their inputs, each result under a lock. A sweep that was killed continues where
it stopped, and running more cells in parallel changes nothing but the time.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product, zip_longest
from typing import Any, Literal

from prefect import flow

from agentevol.data.artifact_folder import digest_json
from agentevol.parent_process import end_with_parent
from agentevol.python_process import module_command, module_environment
from agentevol.report.sweep.model import Setting, SweepRun
from agentevol.report.sweep.records import BASE_MODEL, DATA_PREFIX, ENVIRONMENT_PREFIX, RecordError, recorded_parameters, recorded_runs
from agentevol.settings.effects import comparable_parameters, first_difference
from agentevol.settings.evolve import SweepParams
from agentevol.settings.load import SettingsError
from agentevol.settings.types import Count, Seed
from agentevol.training.precision import resolve_precision
from flows.evolve import evolve, prepare
from flows.expected_errors import fail_in_one_line
from flows.learning import check_rule, start_of
from flows.parameters import load_parameters
from flows.pipeline import Pipeline
from flows.run_name import flow_run_name
from flows.run_page import RunPage
from tasks.env_versions import env_versions
from tasks.progress import say
from tasks.sweep_report import SWEEPS, sweep_report

MAX_NAME_BYTES = 200
"""A file name has 255 at most, and the name gets suffixes."""
_MAX_SHORT_NAME = 120
_NAME = re.compile(r"\w[\w .,=+-]*")

__all__ = ["cells", "prepare", "short_name", "sweep"]


@flow(
    name="sweep",
    description="A grid over M, K, seeds, merging, starting points and rules, compared in one report.",
    flow_run_name=flow_run_name,
)
@fail_in_one_line
def sweep(
    params_file: str = "params.yaml",
    name: str = "",
    iterations: list[Count] | None = None,
    samples: list[Count | Literal["adaptive"]] | None = None,
    seeds: list[Seed] | None = None,
    overrides: list[str] = [],  # noqa: B006  (Prefect shows the default in its form)
) -> str:
    """Run every cell of the grid and return the report.

    Args:
        params_file: The parameter file, relative to the project; its section sweep is the grid.
        name: The name of the sweep, of its experiment in MLflow and of its folder in runs/sweeps. By default the grid in short form, and
            six digits that stand for the other parameters: M1.4-K1.3-s0.1.2-3fa94c.
        iterations: The values of M, instead of sweep.iterations.
        samples: The values of K, instead of sweep.samples; adaptive plays more where success is uncertain.
        seeds: The seeds, instead of sweep.seeds.
        overrides: Further parameters as key=value, e.g. sweep.merge=[initial,none].
    """
    axes = {"iterations": iterations, "samples": samples, "seeds": seeds}
    overrides = [*overrides, *(f"sweep.{key}={values}" for key, values in axes.items() if values is not None)]
    params = load_parameters(params_file, overrides=overrides)
    common = comparable_parameters(params, resolve_precision(params.finetune.precision))
    name = name or f"{short_name(params.sweep)}-{digest_json(common)[:6]}"
    grid = cells(params.sweep)
    check_name(name, grid, common)
    for cell in {(cell.iterations, cell.setting): cell for cell in grid}.values():  # lists fit one M only, rules not every K
        check_rule(load_parameters(params_file, overrides=[*overrides, *_cell_overrides(cell)]))
    say(f"sweep {name}: {len(grid)} runs, {params.sweep.concurrency} in parallel")
    if params.sweep.concurrency == 1:
        finished = _run_sequentially(grid, params_file, overrides, name)
    else:
        finished = _run_in_parallel(grid, params.sweep.concurrency, params_file, overrides, name)
    pipeline = Pipeline(params)
    data, random_baseline = pipeline.datasets, pipeline.evaluate_random() if params.evaluate.random else None
    digests = {f"{DATA_PREFIX}AgentTraj": data.agenttraj.digest, f"{DATA_PREFIX}AgentEval": data.agenteval.digest}
    digests |= {f"{DATA_PREFIX}validation": data.validation.digest} if data.validation.rows else {}
    digests |= {f"{ENVIRONMENT_PREFIX}{env}": str(version) for env, version in env_versions(data.agenteval, data.explore).items()}
    digests[BASE_MODEL] = pipeline.base.digest
    page = sweep_report(finished, data.explore, random_baseline and random_baseline[0], name, digests, common)
    RunPage().show_links(folder=page)
    return str(page)


def cells(grid: SweepParams) -> list[SweepRun]:
    """The runs, ordered so that each reuses as much as possible: by chain, and within a chain by M.

    A rule that ignores start_from has one run for all its values.
    """
    chains = {
        (seed, Setting(_samples_text(samples), merge, start_of(rule, start), rule)): None
        for seed, merge, start, rule, samples in product(grid.seeds, grid.merge, grid.start_from, grid.rule, grid.samples)
    }
    return [SweepRun(setting, iterations, seed, "") for seed, setting in chains for iterations in sorted(grid.iterations)]


def check_name(name: str, grid: Sequence[SweepRun], parameters: Mapping[str, Any]) -> None:
    """Raise SettingsError if the sweep cannot have this name, or if its report would replace one of other runs.

    `parameters`: those that all runs of the grid have in common.
    """
    if len(name.encode()) > MAX_NAME_BYTES:
        raise SettingsError(f"sweep {name[:40]}...: the name has more than {MAX_NAME_BYTES} bytes; choose a shorter one (--name)")
    if not _NAME.fullmatch(name):  # a path would be replaced by the report's folder, with all that is in it
        raise SettingsError(
            f"sweep {name!r}: allowed in a name: letters, digits, spaces and . , = + - _, a letter or digit first. It is not a path: the"
            " report is in runs/sweeps/<name>"
        )
    try:
        existing, runs = recorded_parameters(SWEEPS / name), recorded_runs(SWEEPS / name)
    except RecordError:
        return  # of another version: this sweep replaces it
    if difference := first_difference(existing, parameters):
        raise SettingsError(f"sweep {name}: a sweep of that name has other parameters ({difference}); choose another name (--name)")
    if lost := runs - {(cell.setting, cell.iterations, cell.seed) for cell in grid}:
        setting, iterations, seed = min(lost, key=repr)
        label = setting.label(cell.setting for cell in grid)
        raise SettingsError(
            f"sweep {name}: a sweep of that name has runs that are not in this grid, {len(lost)} in all (M = {iterations}, {label}, seed"
            f" {seed}), and its report would lose them; add them to the grid, or choose another name (--name)"
        )


def short_name(grid: SweepParams) -> str:
    """The grid in short form: M, K and seeds, and those of merging, starting points and rules that vary.

    For a large grid, the number of values stands for the values, and six digits distinguish it from other grids of that size.
    """
    axes: dict[str, list[Any]] = {"M": grid.iterations, "K": grid.samples, "s": grid.seeds}
    main = [letter + ".".join(map(_samples_text, values)) for letter, values in axes.items()]
    others = ["-".join(values) for values in (grid.merge, grid.start_from, grid.rule) if len(values) > 1]
    name = "_".join(["-".join(main), *others])
    if len(name) <= _MAX_SHORT_NAME:
        return name
    main = [f"{letter}x{len(values)}" if len(values) > 4 else text for (letter, values), text in zip(axes.items(), main, strict=True)]
    return "_".join([*("-".join(main), digest_json(axes)[:6]), *others])


def _samples_text(samples: int | list[int] | str) -> str:
    return "+".join(map(str, samples)) if isinstance(samples, list) else str(samples)


def _cell_overrides(cell: SweepRun) -> list[str]:
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


def _run_sequentially(grid: Sequence[SweepRun], params_file: str, overrides: Sequence[str], name: str) -> list[SweepRun]:
    finished = []
    for number, cell in enumerate(grid, 1):
        say(f"run {number} of {len(grid)}: M = {cell.iterations}, K = {cell.setting.samples}, seed {cell.seed}")
        folder = evolve(params_file=params_file, overrides=[*overrides, *_cell_overrides(cell)], experiment=name)
        finished.append(SweepRun(cell.setting, cell.iterations, cell.seed, folder))
    return finished


def _run_in_parallel(grid: Sequence[SweepRun], concurrency: int, params_file: str, overrides: Sequence[str], name: str) -> list[SweepRun]:
    """Run the chains in parallel, each cell in a process of its own. The cells of a chain run in sequence: each extends the last."""
    chains: defaultdict[tuple[Setting, int], list[SweepRun]] = defaultdict(list)
    for cell in grid:
        chains[cell.setting, cell.seed].append(cell)
    processes: list[subprocess.Popen[str]] = []

    def run_chain(chain: Sequence[SweepRun]) -> list[SweepRun]:
        finished = []
        for cell in chain:
            arguments = {"params_file": params_file, "overrides": [*overrides, *_cell_overrides(cell)], "experiment": name}
            command = [*module_command("flows.sweep"), json.dumps(arguments)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=module_environment())
            processes.append(process)
            assert process.stdout is not None
            output = process.stdout.read()
            process.wait()
            if process.returncode:
                raise RuntimeError(
                    f"the run {' '.join(_cell_overrides(cell))} failed (its message is above); run the same command again to continue"
                )
            folder = output.strip().splitlines()[-1]
            say(f"M = {cell.iterations}, K = {cell.setting.samples}, seed {cell.seed}: {folder}")
            finished.append(SweepRun(cell.setting, cell.iterations, cell.seed, folder))
        return finished

    pool = ThreadPoolExecutor(concurrency)
    try:
        running = {key: pool.submit(run_chain, chains[key]) for key in start_order(chains)}
        return [cell for key in chains for cell in running[key].result()]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            if process.poll() is None:
                process.terminate()


def start_order(chains: Iterable[tuple[Setting, int]]) -> list[tuple[Setting, int]]:
    """The chains in the order in which they start: one of each seed in turn, because those of one seed wait for its BC-Base together."""
    by_seed: defaultdict[int, list[tuple[Setting, int]]] = defaultdict(list)
    for chain in chains:
        by_seed[chain[1]].append(chain)
    return [chain for turn in zip_longest(*by_seed.values()) for chain in turn if chain is not None]


if __name__ == "__main__":
    end_with_parent()  # the sweep holds the other end of standard input
    print(evolve(**json.loads(sys.argv[1])), flush=True)
