"""Exploration with a budget of episodes, which go where success is uncertain (agentevol/rollout/allocation.py).

Invariant: the same earlier results, budget and seed give the same episodes, so a run that was killed continues with the same ones. The
n-th episode on an instruction has the sample index n - 1 and therefore its random numbers, however it came to be played.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from agentevol.data.dataset import read_instruction_list, stream_dataset, write_instructions
from agentevol.rollout.allocation import IterationOutcomes, allocate, count_outcomes, first_pass
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task
from tasks.progress import say

SPLIT = "explore"
Play = Callable[[Artifact, int], list[Artifact]]
"""Plays one episode on each of the instructions, with this sample index; returns the chunks of episodes."""


@dataclass(frozen=True, slots=True)
class AdaptiveSamples:
    """Instead of a number of samples: `budget` episodes in all, allocated by the results of the `earlier` explorations, oldest first."""

    budget: int
    earlier: tuple[Artifact, ...] = ()


def play_adaptively(play: Play, instructions: Artifact, samples: AdaptiveSamples, seed: int) -> list[Artifact]:
    """The chunks of an exploration in two passes: at most one episode per instruction, then the rest of the budget by the results."""
    items = read_instruction_list(instructions.folder)
    if not items:
        return []
    history = [_outcomes([explored]) for explored in samples.earlier]
    first = first_pass(items, history, samples.budget, seed)
    chunks = play(_selected(instructions, first), 0)
    if len(first) == samples.budget:
        return chunks
    played = _outcomes(chunks)
    further = allocate(items, history, samples.budget - len(first), seed, played)
    repeated = sum(count for item_id, count in further.items() if item_id in played)
    say(
        f"exploring adaptively: one episode on {len(first)} of {len(items)} instructions,"
        f" then {samples.budget - len(first)} more on {len(further)} ({repeated} of them repeat)"
    )
    parts: dict[int, list[str]] = {}
    for item in items:
        before = played[item.item_id].episodes if item.item_id in played else 0
        for sample in range(before, before + further.get(item.item_id, 0)):
            parts.setdefault(sample, []).append(item.item_id)
    for sample in sorted(parts):
        chunks += play(_selected(instructions, parts[sample]), sample)
    return chunks


def _selected(instructions: Artifact, item_ids: list[str]) -> Artifact:
    """These instructions of the list; the list itself if these are all, so that the episodes are shared with runs of a fixed K."""
    return instructions if len(item_ids) == instructions.rows else select_instructions(data=instructions, item_ids=item_ids)


def _outcomes(episodes: Iterable[Artifact]) -> IterationOutcomes:
    return count_outcomes(row for artifact in episodes for row in stream_dataset(artifact.folder))


@cached_task("instructions", version="1")
def select_instructions(out: Path, *, data: Artifact, item_ids: list[str]) -> TaskOutput:
    """The instructions with these ids, in the order of the list.

    The version is part of an adaptive run's identity: raise it also when allocation.py allocates differently.
    """
    wanted = set(item_ids)
    selected = [item for item in read_instruction_list(data.folder) if item.item_id in wanted]
    dataset = write_instructions(out / "dataset", {SPLIT: selected}, {"parents": [data.digest]})
    return TaskOutput(dataset.digest, "dataset", dataset.counts)
