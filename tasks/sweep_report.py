"""What a sweep adds to its runs: one report from all of them.

Invariant: a report is made from the runs' folders and the store alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from agentevol.data.artifact_folder import atomic_folder, read_manifest
from agentevol.data.dataset import read_dataset, read_instruction_list
from agentevol.report.model import BC_LARGE
from agentevol.report.sweep.model import SeedResult, Setting, StepCost, Sweep, SweepRun
from agentevol.report.sweep.records import RECORDS_FOLDER, write_records
from agentevol.report.sweep.write import HTML, write_sweep_report
from tasks import paths
from tasks.artifact import Artifact, artifact_of
from tasks.git_commit import changed, commit
from tasks.report import HOSTED, machine

SWEEPS = Path("runs") / "sweeps"
_MADE_BY = {"learn": "model", "explore": "explored", "evaluate": "played"}
"""What a step of a run leaves, by its name in run.json."""


@task(version="1", cache_policy=NO_CACHE, persist_result=False)
def sweep_report(
    cells: Sequence[SweepRun], chosen: Artifact, by_chance: Artifact | None, name: str, sets: dict[str, str], parameters: dict[str, Any]
) -> Path:
    """Write `runs/sweeps/<name>/`: report.html, report.md, the pictures and a record of each chain; returns the HTML file.

    `chosen`: the explored instructions; `sets`: the digests of what the runs began with; `parameters`: what they have in common.
    """
    priced = [_priced(cell) for cell in cells]
    longest: dict[tuple[Setting, int], SweepRun] = {}
    for cell in sorted(priced, key=lambda one: one.iterations):
        longest[cell.setting, cell.seed] = cell
    explored = read_instruction_list(chosen.folder)
    sweep = Sweep(
        results=[_chain(cell) for cell in longest.values()],
        runs=priced,
        random=read_dataset(by_chance.folder) if by_chance else [],
        explored=[(row.env, row.difficulty, row.item_id) for row in explored],
        meta={"commit": _commit(), **sets, "machine": machine()},
        parameters=parameters,
    )
    folder = SWEEPS / name
    with atomic_folder(folder) as out:
        write_sweep_report(out, sweep, f"AgentEvol: {name}")
        write_records(out / RECORDS_FOLDER, sweep)
    return folder / HTML


def _priced(cell: SweepRun) -> SweepRun:
    """The cell with what its steps cost and made."""
    phases, lineage = _read(cell, "scores.json")["phases"], {**_read(cell, "run.json"), **_hosted(cell)}
    costs = []
    for phase in phases:
        label, _, what = phase["name"].rpartition(": ")
        numbers = {name: phase[name] for name in ("seconds", "episodes", "tokens", "trained_tokens")}
        made = lineage[label][_MADE_BY[what]]["path"]
        costs += [StepCost(label, what, **part, trained_tokens=0) for part in _chunks(made)] or [StepCost(label, what, made, **numbers)]
    return SweepRun(cell.setting, cell.iterations, cell.seed, cell.folder, costs)


def _chunks(made: str) -> list[dict[str, Any]]:
    """The chunks of a rollout with what each cost: K = 3 shares those of its first sample with K = 1. None for what is no rollout."""
    folder = paths.resolve(made).parent
    facts = artifact_of(read_manifest(folder), folder).facts
    return list(facts.get("parts", ()))


def _hosted(cell: SweepRun) -> dict[str, Any]:
    """The lineage of the hosted models that the run compared with; empty where there were none."""
    return dict(_read(cell, HOSTED)) if (Path(cell.folder) / HOSTED).is_file() else {}


def _chain(cell: SweepRun) -> SeedResult:
    lineage = _read(cell, "run.json")
    labels = sorted(lineage, key=lambda label: label == BC_LARGE)  # BC-Large last, the others in their order
    policies = {label: read_dataset(paths.resolve(lineage[label]["played"]["path"])) for label in labels}
    kept = {
        label: frozenset(row.item_id for row in read_dataset(paths.resolve(parts["kept"]["path"])))
        for label, parts in lineage.items()
        if "kept" in parts
    }
    hosted = {label: read_dataset(paths.resolve(parts["played"]["path"])) for label, parts in _hosted(cell).items()}
    return SeedResult(cell.setting, cell.seed, policies, kept, lineage, hosted)


def _read(cell: SweepRun, name: str) -> Any:
    return json.loads((Path(cell.folder) / name).read_text(encoding="utf-8"))


def _commit() -> str:
    now = commit()
    return f"{now[:12]}{' and changes to it' if changed() else ''}" if now else "not a git checkout"
