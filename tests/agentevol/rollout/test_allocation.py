"""Adaptive exploration spends the budget where a first success is likely, and starves no instruction."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from agentevol.data.trajectory import Trajectory
from agentevol.rollout.allocation import MAX_SHARE, MAX_SKIPPED, IterationOutcomes, Outcomes, allocate, count_outcomes, first_pass
from envs.base import Instruction
from tests.agentevol.counting import play_counting


def instructions(count: int, groups: int = 3) -> list[Instruction]:
    return [Instruction(f"w_{i}", "w", "t", f"{i % groups}", f"{i}") for i in range(count)]


def random_history(rng: random.Random, items: list[Instruction], iterations: int) -> list[IterationOutcomes]:
    return [
        {item.item_id: Outcomes(*(rng.randrange(3) for _ in range(3))) for item in items if rng.random() < 0.7} for _ in range(iterations)
    ]


def test_the_samples_add_up_to_the_budget_and_depend_on_the_arguments_alone() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        items = instructions(rng.randrange(1, 12))
        history = random_history(rng, items, rng.randrange(4))
        budget = rng.randrange(40)
        played = random_history(rng, items, 1)[0] if rng.random() < 0.5 else {}
        planned = allocate(items, history, budget, seed, played)
        assert sum(planned.values()) == budget
        assert all(count > 0 for count in planned.values())
        assert planned == allocate(list(reversed(items)), history, budget, seed, dict(reversed(played.items())))
        episodes = Counter({item_id: outcomes.episodes for item_id, outcomes in played.items()})
        average = (budget + episodes.total()) / len(items)
        assert all(planned[item_id] + episodes[item_id] <= MAX_SHARE * (average + 1) for item_id in planned)


def test_no_instruction_starves() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        count = rng.randrange(1, 15)
        budget = rng.randrange(1, 2 * count + 1)
        items = instructions(count)
        rate = {item.item_id: rng.choice([0.0, 0.02, 0.5, 1.0]) for item in items}
        history: list[IterationOutcomes] = []
        for _ in range(12):
            history.append(play(items, history, budget, seed, rate, rng))
        bound = MAX_SKIPPED + -(-count // budget)
        for item in items:
            sampled = [item.item_id in iteration for iteration in history]
            assert all(any(sampled[start : start + bound]) for start in range(len(history) - bound + 1)), (seed, item)


def play(
    items: list[Instruction], history: list[IterationOutcomes], budget: int, seed: int, rate: dict[str, float], rng: random.Random
) -> IterationOutcomes:
    """An iteration in two passes, as tasks/adaptive_exploration.py plays it, with a policy of these success rates."""
    first = first_pass(items, history, budget, seed)
    played = {item_id: Outcomes(*((1, 0) if rng.random() < rate[item_id] else (0, 1))) for item_id in first}
    for item_id, count in allocate(items, history, budget - len(first), seed, played).items():
        won = sum(rng.random() < rate[item_id] for _ in range(count))
        before = played.get(item_id, Outcomes())
        played[item_id] = Outcomes(before.successes + won, before.failures + count - won)
    return played


def test_the_first_iteration_plays_every_instruction_before_any_of_them_twice() -> None:
    items = instructions(10)
    assert first_pass(items, [], 10, 0) == [item.item_id for item in items]
    assert len(first_pass(items, [], 25, 0)) == 10
    assert len(first_pass(items, [], 4, 0)) == 4


def test_uncertain_instructions_get_more_than_solved_ones_and_hopeless_ones_least() -> None:
    items = [Instruction(f"{kind}_{i}", "w", "t", kind, "") for kind in ("solved", "uncertain", "hopeless") for i in range(10)]
    outcome = {"solved": Outcomes(2, 0), "uncertain": Outcomes(1, 1), "hopeless": Outcomes(0, 2)}
    history = [{item.item_id: outcome[item.difficulty] for item in items}] * 2
    planned = allocate(items, history, 30, 0)
    by_kind = Counter[str]()
    for item_id, count in planned.items():
        by_kind[item_id.partition("_")[0]] += count
    assert by_kind["uncertain"] > by_kind["solved"] > by_kind["hopeless"]
    assert all(planned[f"solved_{i}"] == 1 for i in range(10))


def test_a_success_in_this_iteration_leaves_the_rest_to_the_others() -> None:
    items = instructions(4, groups=1)
    played = {"w_0": Outcomes(1, 0), "w_1": Outcomes(0, 1), "w_2": Outcomes(0, 1), "w_3": Outcomes(1, 0)}
    assert set(allocate(items, [], 4, 0, played)) == {"w_1", "w_2"}


def test_an_untried_instruction_is_judged_by_its_group() -> None:
    items = instructions(30)
    easy = {item.item_id: Outcomes(*((2, 1) if item.difficulty == "0" else (0, 3))) for item in items[:24]}
    history = [easy | {item.item_id: Outcomes(0, 0, 1) for item in items[24:]}]  # errors are no results
    due = first_pass(items, history, 6, 0)
    assert set(due) == {item.item_id for item in items[24:]}
    more = allocate(items, history, 12, 0)
    untried = Counter({item.difficulty: more.get(item.item_id, 0) for item in items[24:]})
    assert untried["0"] >= untried["1"]


def test_more_instructions_are_solved_than_with_the_same_number_of_episodes_for_all() -> None:
    """Half of the instructions are easy, some are hard, some cannot be solved: the share of covered instructions over four iterations."""
    adaptive = uniform = 0
    for seed in range(20):
        rng = random.Random(seed)
        items = [Instruction(f"{i}", "w", "t", kind, "") for i, kind in enumerate(["easy"] * 20 + ["hard"] * 10 + ["never"] * 10)]
        rate = {item.item_id: {"easy": 0.9, "hard": 0.25, "never": 0.0}[item.difficulty] for item in items}
        history: list[IterationOutcomes] = []
        for _ in range(4):
            history.append(play(items, history, 40, seed, rate, rng))
            adaptive += sum(outcomes.successes > 0 for outcomes in history[-1].values())
            uniform += sum(rng.random() < rate[item.item_id] for item in items)
    assert adaptive > 1.05 * uniform


def test_outcomes_are_counted_by_status_and_success() -> None:
    episodes: list[Trajectory] = [
        play_counting(4, ["5"]),
        play_counting(4, ["9"], sample=1),
        play_counting(5, ["x"], status="error", error="gone"),
    ]
    assert count_outcomes(episodes) == {"counting_4": Outcomes(1, 1, 0), "counting_5": Outcomes(0, 0, 1)}


def test_a_budget_without_instructions_is_refused() -> None:
    with pytest.raises(ValueError, match="3 episodes cannot be allocated: there are no instructions"):
        allocate([], [], 3, 0)
    assert allocate([], [], 0, 0) == {}
