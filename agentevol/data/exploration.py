"""The results of an exploration: episodes and successes per environment and difficulty, and on instructions without an expert trajectory.

Invariant: the instructions are those of the explore split, whether an episode was spent on them or not, so that explorations with
different numbers of samples have the same denominators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from agentevol.data.coverage import coverage
from agentevol.data.trajectory import Trajectory
from envs.base import Instruction


@dataclass(frozen=True, slots=True)
class ExplorationGroup:
    """The exploration of the instructions of an environment and difficulty.

    `instructions`: in the explore split; `episodes`: on them; `sampled`: instructions with an episode; `covered`: with a success;
    `without_expert`: those that the expert set has no trajectory of; `covered_without_expert`: of these, with a success.
    """

    env: str
    difficulty: str
    instructions: int
    episodes: int
    sampled: int
    covered: int
    without_expert: int
    covered_without_expert: int


def summarize_exploration(
    episodes: Iterable[Trajectory], instructions: Collection[Instruction], expert_ids: Collection[str]
) -> list[ExplorationGroup]:
    """One group per environment and difficulty, sorted. `expert_ids`: the instructions of the expert set. An error is no success."""
    counts: Counter[str] = Counter()
    solved: set[str] = set()
    for episode in episodes:
        counts[episode.item_id] += 1
        if episode.success and episode.status != "error":
            solved.add(episode.item_id)
    without_expert = [item for item in instructions if item.item_id not in expert_ids]
    groups = {(part.env, part.difficulty): part for part in coverage(solved, without_expert)}
    sampled = {(part.env, part.difficulty): part.covered for part in coverage(counts, instructions)}
    spent: Counter[tuple[str, str]] = Counter()
    for item in instructions:
        spent[item.env, item.difficulty] += counts[item.item_id]
    result = []
    for part in coverage(solved, instructions):
        key = (part.env, part.difficulty)
        new = groups.get(key)
        numbers = (part.instructions, spent[key], sampled[key], part.covered)
        result.append(ExplorationGroup(*key, *numbers, new.instructions if new else 0, new.covered if new else 0))
    return result
