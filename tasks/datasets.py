"""Tasks on trajectories: filter by reward, merge, and the gate that every training set must pass.

Invariant: no set reaches fine-tuning that has not passed the gate; a set that fails stops the flow and is named, with rows and remedy.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from agentevol.data.dataset import stream_dataset, write_dataset
from agentevol.settings.types import Merge
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task


@cached_task("trajectories", version="1")
def filter_by_reward(out: Path, *, explored: Artifact, cap: int | None, env_versions: dict[str, int]) -> TaskOutput:
    """The successful episodes, at most `cap` per instruction; facts: how many were dropped and why, and the coverage by difficulty.

    `env_versions`: the versions of the environments, whose success rule decides.
    """
    from agentevol.data import filtering

    chosen = filtering.RewardFilter(cap)
    kept = chosen.keep(stream_dataset(explored.folder))
    made = write_dataset(out / "dataset", kept, {"parents": [explored.digest], "cap": cap})
    return TaskOutput(made.digest, "dataset", made.counts, asdict(chosen.report()))


@cached_task("trajectories", version="1")
def merge(out: Path, *, initial: Artifact, explored: list[Artifact], how: Merge) -> TaskOutput:
    """What an iteration learns from: the expert set and the explored ones (per iteration, the oldest first), duplicates removed."""
    from agentevol.data import merging

    merger = merging.Merger(how)
    merged = merger.merge(stream_dataset(initial.folder), [stream_dataset(one.folder) for one in explored])
    parents = [initial.digest, *(one.digest for one in explored)]
    made = write_dataset(out / "dataset", merged, {"parents": parents, "merge": how})
    return TaskOutput(made.digest, "dataset", made.counts, asdict(merger.report()))
