"""Adaptive exploration: how many episodes each instruction gets, from how earlier episodes ended.

The next episode goes to the instruction where it is most likely to bring the first success of the iteration. An instruction's success rate
has a Beta distribution: its prior is the success of its group (environment, task type, difficulty) and weighs PRIOR_EPISODES episodes; its
own results count half as much for every iteration since, because the policy has changed. So an instruction that nearly always
succeeds gets one episode, one that sometimes succeeds gets several, and one that never succeeded gets few.

Invariant: a pure function of its arguments, without random numbers or functions that differ between machines. The samples add up to the
budget. Every instruction is sampled at least once in any MAX_SKIPPED + ceil(instructions / budget) iterations in a row.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agentevol.data.trajectory import Trajectory
from envs.base import Instruction

PRIOR_EPISODES = 2.0
DISCOUNT = 0.5
"""The weight of an iteration's results in the next iteration."""
MAX_SKIPPED = 2
"""Iterations in a row without an episode on an instruction, where the budget allows one for each."""
MAX_SHARE = 4
"""No instruction gets more than so many times the average, which is rounded up to a whole number."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How the episodes of an iteration on one instruction ended. Errors say nothing about the policy."""

    successes: int = 0
    failures: int = 0
    errors: int = 0

    @property
    def episodes(self) -> int:
        return self.successes + self.failures + self.errors


IterationOutcomes = Mapping[str, Outcomes]
"""By item id; an instruction without an episode is absent."""
_NONE = Outcomes()


def count_outcomes(trajectories: Iterable[Trajectory]) -> dict[str, Outcomes]:
    """The outcomes of an iteration's episodes, by item id."""
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for trajectory in trajectories:
        counts[trajectory.item_id][2 if trajectory.status == "error" else 0 if trajectory.success else 1] += 1
    return {item_id: Outcomes(*numbers) for item_id, numbers in counts.items()}


def first_pass(instructions: Sequence[Instruction], history: Sequence[IterationOutcomes], budget: int, seed: int) -> list[str]:
    """The ids of the instructions that get one episode at first, in their order: at most `budget`, fewer if some get a second.

    The rest of the budget is allocated by `allocate` when these episodes have been played. `history`: earlier iterations, oldest first.
    """
    planned = allocate(instructions, history, budget, seed)
    return [item.item_id for item in instructions if planned.get(item.item_id)]


def allocate(
    instructions: Sequence[Instruction],
    history: Sequence[IterationOutcomes],
    budget: int,
    seed: int,
    played: IterationOutcomes | None = None,
) -> dict[str, int]:
    """The number of further episodes by item id, without zeros; their sum is `budget`. `played`: the episodes of this iteration so far.

    Raises ValueError if there is no instruction.
    """
    if not instructions and budget:
        raise ValueError(f"{budget} episodes cannot be allocated: there are no instructions")
    done = played or {}
    rates = _success_rates(instructions, history, done)
    order = {item.item_id: _tie_break(seed, len(history), item.item_id) for item in instructions}
    planned = dict.fromkeys(order, 0)
    for item_id in _due(list(order), history, done, order)[:budget]:
        planned[item_id] = 1
    total = budget + sum(outcomes.episodes for outcomes in done.values())
    most = MAX_SHARE * -(-total // max(1, len(order)))

    def entry(item_id: str) -> tuple[float, int, bytes, str]:
        outcomes = done.get(item_id, _NONE)
        gain = 0.0 if outcomes.successes else _first_success_probability(*rates[item_id], planned[item_id])
        return -gain, outcomes.episodes + planned[item_id], order[item_id], item_id

    heap = [entry(item_id) for item_id in order]
    heapq.heapify(heap)
    for _ in range(budget - sum(planned.values())):
        while heap[0][1] >= most:
            heapq.heappop(heap)
        item_id = heap[0][3]
        planned[item_id] += 1
        heapq.heapreplace(heap, entry(item_id))
    return {item_id: count for item_id, count in planned.items() if count}


def _success_rates(
    instructions: Sequence[Instruction], history: Sequence[IterationOutcomes], played: IterationOutcomes
) -> dict[str, tuple[float, float]]:
    """The parameters (a, b) of the Beta distribution of each instruction's success rate."""
    own: dict[str, tuple[float, float]] = {}
    groups: defaultdict[tuple[str, str, str], list[float]] = defaultdict(lambda: [PRIOR_EPISODES / 2, PRIOR_EPISODES / 2])
    for item in instructions:
        won = lost = 0.0
        weight = 1.0
        for iteration in (played, *reversed(history)):
            outcomes = iteration.get(item.item_id, _NONE)
            won, lost = won + weight * outcomes.successes, lost + weight * outcomes.failures
            weight *= DISCOUNT
        own[item.item_id] = won, lost
        group = groups[item.env, item.task_type, item.difficulty]
        group[0] += won
        group[1] += lost
    rates = {}
    for item in instructions:
        group_won, group_lost = groups[item.env, item.task_type, item.difficulty]
        mean = group_won / (group_won + group_lost)
        won, lost = own[item.item_id]
        rates[item.item_id] = (PRIOR_EPISODES * mean + won, PRIOR_EPISODES * (1 - mean) + lost)
    return rates


def _first_success_probability(a: float, b: float, failed: int) -> float:
    """The probability that `failed` episodes fail and the next one succeeds, where the success rate has the distribution Beta(a, b)."""
    probability = 1.0
    for number in range(failed):
        probability *= (b + number) / (a + b + number)
    return probability * a / (a + b + failed)


def _due(ids: Sequence[str], history: Sequence[IterationOutcomes], played: IterationOutcomes, order: Mapping[str, bytes]) -> list[str]:
    """The instructions that have to be sampled in this iteration; those that have waited longest first."""

    def waited(item_id: str) -> int:
        for age, iteration in enumerate(reversed(history)):
            outcomes = iteration.get(item_id, _NONE)
            if outcomes.successes or outcomes.failures:
                return age
        return len(history) + MAX_SKIPPED  # never sampled: due at once

    waits = {item_id: waited(item_id) for item_id in ids if not played.get(item_id, _NONE).episodes}
    return sorted(
        (item_id for item_id, wait in waits.items() if wait >= MAX_SKIPPED), key=lambda item_id: (-waits[item_id], order[item_id])
    )


def _tie_break(seed: int, iteration: int, item_id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{iteration}:{item_id}".encode()).digest()
