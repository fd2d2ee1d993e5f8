"""Tasks on the given data: collect the expert sets and instruction lists, and take the part of them that a run uses.

Invariant: `data/` is the same byte for byte on every machine and holds at least a run's environments; a run reads it while it holds
`reading`, and what it uses of it, be it all, lies in the store afterwards: another run may then make `data/` anew with other environments.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from prefect import task

from agentevol import datasets, storage
from envs.base import Split
from tasks import places
from tasks.artifact import Artifact
from tasks.keys import Made, stored
from tasks.progress import bar
from tasks.turns import alone

SETS = {"agenttraj": "trajectories", "agenttraj_l": "trajectories", "agenteval": "instructions", "explore": "instructions"}


@task(version="2")
def collect(folder: str, environments: list[str]) -> dict[str, Artifact]:
    """Verify AgentTraj, AgentTraj-L, AgentEval and the exploration list in `folder`; make what is missing or out of date."""
    from agentevol.collect import collect as collect_data

    with bar("collecting") as tick:
        made = collect_data(places.resolve(folder), environments, on_progress=tick)
    return {
        name: Artifact(kind=kind, path=places.record(places.resolve(folder) / name), digest=made[name].digest, counts=made[name].counts)
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


@stored("trajectories", version="1")
def take_trajectories(out: Path, *, data: Artifact, environments: list[str], limit: int | None) -> Made:
    """The trajectories on the first `limit` instructions of a set, per environment."""
    rows = datasets.stream_head(storage.stream_dataset(data.folder), environments, limit)
    made = storage.write_dataset(out / "dataset", rows, {"parents": [data.digest], "limit": limit, "environments": environments})
    return Made(made.digest, "dataset", made.counts)


@stored("instructions", version="1")
def take_instructions(out: Path, *, data: Artifact, split: Split, environments: list[str], limit: int | None) -> Made:
    """The first `limit` instructions of a list, per environment."""
    rows = [row for rows in storage.read_instructions(data.folder).values() for row in rows]
    taken = datasets.head(rows, environments, limit)
    made = storage.write_instructions(out / "dataset", {split: taken}, {"parents": [data.digest], "limit": limit})
    return Made(made.digest, "dataset", made.counts)
