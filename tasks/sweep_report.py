"""The report of a sweep, over all of its runs.

Invariant: it is made from the runs' folders and the store alone.
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
from agentevol.data.exploration import ExplorationGroup
from agentevol.report.model import BC_LARGE, OUTPUT_OF_PHASE, ZERO_SHOT
from agentevol.report.sweep.model import SeedResult, Setting, StepCost, Sweep, SweepRun
from agentevol.report.sweep.records import RECORDS_FOLDER, write_records
from agentevol.report.sweep.write import HTML, write_sweep_report
from tasks import paths
from tasks.artifact import Artifact, artifact_of
from tasks.git_commit import commit, has_uncommitted_changes
from tasks.report import HOSTED, machine

SWEEPS = Path("runs") / "sweeps"


@task(version="1", cache_policy=NO_CACHE, persist_result=False)
def sweep_report(
    runs: Sequence[SweepRun],
    explore: Artifact,
    random_episodes: Artifact | None,
    name: str,
    digests: dict[str, str],
    parameters: dict[str, Any],
) -> Path:
    """Write `runs/sweeps/<name>/`: report.html, report.md, the plots and a record of each chain; returns the HTML file.

    `explore`: the explored instructions. `digests`: the digests of the runs' inputs, by name. `parameters`: the parameters that all runs
    have in common.
    """
    runs = [_with_costs(run) for run in runs]
    longest: dict[tuple[Setting, int], SweepRun] = {}
    for run in sorted(runs, key=lambda run: run.iterations):
        longest[run.setting, run.seed] = run
    instructions = read_instruction_list(explore.folder)
    sweep = Sweep(
        results=[_seed_result(run) for run in longest.values()],
        runs=runs,
        random=read_dataset(random_episodes.folder) if random_episodes else [],
        explored=[(item.env, item.difficulty, item.item_id) for item in instructions],
        meta={"commit": _commit_text(), **digests, "machine": machine()},
        parameters=parameters,
    )
    folder = SWEEPS / name
    with atomic_folder(folder) as out:
        write_sweep_report(out, sweep, f"AgentEvol: {name}")
        write_records(out / RECORDS_FOLDER, sweep)
    return folder / HTML


def _with_costs(run: SweepRun) -> SweepRun:
    """The run with the costs and outputs of its phases."""
    phases, lineage = _read(run, "scores.json")["phases"], {**_read(run, "run.json"), **_hosted_lineage(run)}
    costs = []
    for phase in phases:
        label, _, name = phase["name"].rpartition(": ")
        path = lineage[label][OUTPUT_OF_PHASE[name]]["path"]
        chunks = [StepCost(label, name, chunk["path"], chunk["seconds"], chunk["episodes"], chunk["tokens"], 0) for chunk in _chunks(path)]
        costs += chunks or [
            StepCost(label, name, path, phase["seconds"], phase["episodes"], phase["tokens"], phase["trained_tokens"]),
        ]
    return SweepRun(run.setting, run.iterations, run.seed, run.folder, costs)


def _chunks(path: str) -> list[dict[str, Any]]:
    """The chunks of a rollout with their costs (K = 3 shares the chunks of its first sample with K = 1); empty for other artifacts."""
    folder = paths.resolve(path).parent
    facts = artifact_of(read_manifest(folder), folder).facts
    return list(facts.get("chunks", ()))


def _hosted_lineage(run: SweepRun) -> dict[str, Any]:
    """The lineage of the hosted models that the run was compared with; empty if there were none."""
    return dict(_read(run, HOSTED)) if (Path(run.folder) / HOSTED).is_file() else {}


def _seed_result(run: SweepRun) -> SeedResult:
    lineage = _read(run, "run.json")
    labels = sorted(lineage, key=lambda label: (label == BC_LARGE, label != ZERO_SHOT))  # BC-Large last, the others in their order
    policies = {label: read_dataset(paths.resolve(lineage[label]["played"]["path"])) for label in labels}
    kept = {
        label: frozenset(row.item_id for row in read_dataset(paths.resolve(artifacts["kept"]["path"])) if row.success)
        for label, artifacts in lineage.items()
        if "kept" in artifacts
    }
    hosted = {label: read_dataset(paths.resolve(artifacts["played"]["path"])) for label, artifacts in _hosted_lineage(run).items()}
    scores = _read(run, "scores.json")
    explored = {label: groups for label, groups in scores.get("exploration", {}).items() if label in policies}
    exploration = {label: [ExplorationGroup(**group) for group in groups] for label, groups in explored.items()}
    return SeedResult(run.setting, run.seed, policies, kept, lineage, hosted, scores["selected"], exploration, scores.get("verifier", {}))


def _read(run: SweepRun, name: str) -> Any:
    return json.loads((Path(run.folder) / name).read_text(encoding="utf-8"))


def _commit_text() -> str:
    current = commit()
    return f"{current[:12]}{' and changes to it' if has_uncommitted_changes() else ''}" if current else "not a git checkout"
