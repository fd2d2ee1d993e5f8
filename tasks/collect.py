"""Tasks on the given data: collect the expert sets and instruction lists, and take the part of them that a run uses.

Invariant: `data/` is the same byte for byte on every machine and holds at least a run's environments; a run reads it while it holds
`reading`, and what it uses of it, be it all, lies in the store afterwards: another run may then make `data/` anew with other environments.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from prefect import task

from agentevol.data.dataset import read_instruction_list, stream_dataset, write_dataset, write_instructions
from agentevol.data.subset import first_instructions, stream_first_instructions
from envs.base import Split
from tasks import paths
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task
from tasks.locks import alone
from tasks.progress import bar, say

SETS = {"agenttraj": "trajectories", "agenttraj_l": "trajectories", "agenteval": "instructions", "explore": "instructions"}


@task(version="2")
def collect(folder: str, environments: list[str]) -> dict[str, Artifact]:
    """Verify AgentTraj, AgentTraj-L, AgentEval and the exploration list in `folder`; make what is missing or out of date."""
    from agentevol.data.experts import collect as collect_data
    from agentevol.data.experts import predates_versions

    if predates_versions(paths.resolve(folder)):
        say(f"{folder}/ was made by an earlier release, which recorded no environment versions; it is made again")
    with bar("collecting") as tick:
        made = collect_data(paths.resolve(folder), environments, on_progress=tick)
    return {
        name: Artifact(kind=kind, path=paths.record(paths.resolve(folder) / name), digest=made[name].digest, counts=made[name].counts)
        for name, kind in SETS.items()
    }


def reading() -> AbstractContextManager[None]:
    """While it is held no other run of this project makes the data anew."""
    return alone("data", "another run is making or reading the data; waiting for it")


def part(data: Artifact, *, split: Split, environments: list[str], limit: int | None) -> Artifact:
    """The given environments of a set, and of each at most `limit` instructions, in the store."""
    if data.kind == "instructions":
        return take_instructions(data=data, split=split, environments=environments, limit=limit, label=split)
    return take_trajectories(data=data, environments=environments, limit=limit, label=split)


@cached_task("trajectories", version="1")
def take_trajectories(out: Path, *, data: Artifact, environments: list[str], limit: int | None) -> TaskOutput:
    """The trajectories on the first `limit` instructions of a set, per environment."""
    rows = stream_first_instructions(stream_dataset(data.folder), environments, limit)
    made = write_dataset(out / "dataset", rows, {"parents": [data.digest], "limit": limit, "environments": environments})
    return TaskOutput(made.digest, "dataset", made.counts)


@cached_task("instructions", version="1")
def take_instructions(out: Path, *, data: Artifact, split: Split, environments: list[str], limit: int | None) -> TaskOutput:
    """The first `limit` instructions of a list, per environment."""
    rows = read_instruction_list(data.folder)
    taken = first_instructions(rows, environments, limit)
    made = write_instructions(out / "dataset", {split: taken}, {"parents": [data.digest], "limit": limit})
    return TaskOutput(made.digest, "dataset", made.counts)
