"""Tasks on the given data: collect the expert sets and instruction lists, and take the subsets that a run uses.

Invariant: `data/` is the same byte for byte on every machine and holds at least a run's environments. A run reads it while it holds
`data_lock`, and copies what it uses into the store: another run may then rebuild `data/` with other environments.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from prefect import task

from agentevol.data.dataset import read_instruction_list, recorded_measures, stream_dataset, write_dataset, write_instructions
from agentevol.data.subset import first_instructions, stream_first_instructions
from agentevol.data.trajectory import Trajectory
from agentevol.data.validation import VALIDATION
from agentevol.data.validation import validation_instructions as select_validation_instructions
from envs.base import Instruction, Split
from tasks import paths
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task
from tasks.locks import exclusive_lock
from tasks.progress import progress_bar, say

DATASETS = {"agenttraj": "trajectories", "agenttraj_l": "trajectories", "agenteval": "instructions", "explore": "instructions"}


@task(version="2")
def collect(folder: str, environments: list[str]) -> dict[str, Artifact]:
    """Verify AgentTraj, AgentTraj-L, AgentEval and the exploration list in `folder`; build what is missing or out of date."""
    from agentevol.data.experts import collect as collect_data
    from agentevol.data.experts import predates_versions

    root = paths.resolve(folder)
    if predates_versions(root):
        say(f"{folder}/ was made by an earlier release, which recorded no environment versions; it is rebuilt")
    with progress_bar("collecting") as progress:
        datasets = collect_data(root, environments, on_progress=progress)
    return {
        name: Artifact(kind=kind, path=paths.record(root / name), digest=datasets[name].digest, counts=datasets[name].counts)
        for name, kind in DATASETS.items()
    }


def data_lock() -> AbstractContextManager[None]:
    """While it is held, no other run of this project rebuilds the data."""
    return exclusive_lock("data", "another run is reading or rebuilding the data; waiting for it")


def subset(data: Artifact, *, split: Split, environments: list[str], limit: int | None) -> Artifact:
    """The given environments of a dataset, at most `limit` instructions of each, in the store."""
    if data.kind == "instructions":
        return subset_instructions(data=data, split=split, environments=environments, limit=limit, label=split)
    return subset_trajectories(data=data, environments=environments, limit=limit, label=split)


@cached_task("trajectories", version="1")
def subset_trajectories(out: Path, *, data: Artifact, environments: list[str], limit: int | None) -> TaskOutput:
    """The trajectories on the first `limit` instructions of each environment."""
    rows = stream_first_instructions(stream_dataset(data.folder), environments, limit)
    lineage = {"parents": [data.digest], "limit": limit, "environments": environments}
    dataset = write_dataset(out / "dataset", rows, lineage, measures=recorded_measures(data.folder))
    return TaskOutput(dataset.digest, "dataset", dataset.counts)


@cached_task("instructions", version="1")
def subset_instructions(out: Path, *, data: Artifact, split: Split, environments: list[str], limit: int | None) -> TaskOutput:
    """The first `limit` instructions of each environment."""
    selected = first_instructions(read_instruction_list(data.folder), environments, limit)
    dataset = write_instructions(out / "dataset", {split: selected}, {"parents": [data.digest], "limit": limit})
    return TaskOutput(dataset.digest, "dataset", dataset.counts)


@cached_task("instructions", version="1")
def validation_instructions(
    out: Path, *, data: Artifact, used: list[Artifact], held_out: Artifact, environments: list[str], limit: int | None
) -> TaskOutput:
    """At most `limit` instructions of each environment that the run does not use otherwise.

    `data`: all training instructions. `used`: the training sets and the explored instructions. `held_out`: all of AgentEval.
    """
    used_ids = {item_id for artifact in used for item_id in _item_ids(artifact)}
    selected = select_validation_instructions(
        read_instruction_list(data.folder), environments, limit, used_ids=used_ids, held_out=read_instruction_list(held_out.folder)
    )
    dataset = write_instructions(out / "dataset", {VALIDATION: selected}, {"parents": [data.digest], "limit": limit})
    return TaskOutput(dataset.digest, "dataset", dataset.counts)


def _item_ids(data: Artifact) -> set[str]:
    rows: Iterable[Instruction | Trajectory]
    rows = read_instruction_list(data.folder) if data.kind == "instructions" else stream_dataset(data.folder)
    return {row.item_id for row in rows}
