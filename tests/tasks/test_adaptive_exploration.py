"""A budget of episodes is played in two passes, in the same way after a kill, and shares its episodes with runs of a fixed K."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import agentevol.rollout.rollout
from agentevol.data.dataset import read_dataset, write_instructions
from agentevol.data.trajectory import Message, Trajectory
from agentevol.rollout.sampling import Sampling
from agentevol.settings.rollout import RolloutParams
from envs import registry
from envs.base import Instruction
from tasks import paths
from tasks.adaptive_exploration import AdaptiveSamples
from tasks.artifact import Artifact
from tasks.rollout import roll_out

POLICY = Artifact(kind="model", path="models/x", digest="model")
NEVER = {"w_0", "w_1"}
"""No episode on these succeeds; on w_2 every second one does; all others succeed."""


@pytest.fixture
def played(project: Path, without_prefect: None, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """A policy of these success rates; returns the episodes that it has played."""
    calls: list[tuple[str, int]] = []

    def roll_out(
        folder: Any, instructions: Sequence[Instruction], *, samples: Sequence[int], sampling: Sampling, **_: Any
    ) -> list[Trajectory]:
        calls.extend((item.item_id, sample) for sample in samples for item in instructions)
        return [episode(item.item_id, sample, sampling.iteration) for item in instructions for sample in samples]

    monkeypatch.setattr(agentevol.rollout.rollout, "roll_out", roll_out)
    monkeypatch.setitem(registry.ENVIRONMENTS, "w", "tests.flows.tiny:Pushing")
    return calls


def episode(item_id: str, sample: int, iteration: int) -> Trajectory:
    success = item_id not in NEVER and not (item_id == "w_2" and sample % 2 == 0)
    messages = [Message("user", "?"), Message("assistant", f"{sample}", True)]
    outcome = {"messages": messages, "reward": float(success), "success": success, "rounds": 1, "status": "finished", "tokens": 2}
    origin = {"split": "explore", "policy": "p", "policy_hash": POLICY.digest, "iteration": iteration, "sample": sample}
    return Trajectory(item_id=item_id, env="w", task_type="t", **origin, **outcome)  # type: ignore[arg-type]


def explore(samples: int | AdaptiveSamples, iteration: int = 1) -> Artifact:
    items = [Instruction(f"w_{i}", "w", "t", "hard" if i < 3 else "easy", f"{i}") for i in range(10)]
    dataset = write_instructions(paths.root() / "data", {"explore": items})
    return roll_out(
        policy=POLICY,
        name="p",
        instructions=Artifact(kind="instructions", path="data", digest=dataset.digest, counts=dataset.counts),
        split="explore",
        samples=samples,
        sampling=Sampling(temperature=0.7, iteration=iteration),
        settings=RolloutParams(chunk_size=4),
    )


def episodes(explored: Artifact) -> Counter[str]:
    rows = read_dataset(explored.folder)
    assert len({(row.item_id, row.sample) for row in rows}) == len(rows), "every episode has random numbers of its own"
    return Counter(row.item_id for row in rows)


def test_the_second_pass_repeats_what_failed(played: list[tuple[str, int]]) -> None:
    explored = explore(AdaptiveSamples(16))
    counts = episodes(explored)
    assert counts.total() == 16
    assert played[:10] == [(f"w_{i}", 0) for i in range(10)]
    assert {item_id for item_id, _ in played[10:]} == {"w_0", "w_1", "w_2"}
    assert all(counts[f"w_{i}"] == 1 for i in range(3, 10))


def test_later_iterations_skip_what_never_succeeds_but_not_for_ever(played: list[tuple[str, int]]) -> None:
    explored = [explore(AdaptiveSamples(10))]
    assert all(count == 1 for count in episodes(explored[0]).values())  # as with K = 1
    for iteration in (2, 3, 4):
        explored.append(explore(AdaptiveSamples(10, tuple(explored)), iteration))
        assert episodes(explored[-1]).total() == 10
    assert min(sum(item_id in episodes(each) for each in explored) for item_id in NEVER) >= 2
    assert all(episodes(each)[f"w_{i}"] == 1 for each in explored for i in range(3, 10))


def test_episodes_are_shared_with_a_fixed_number_of_samples(played: list[tuple[str, int]]) -> None:
    explore(1)
    played.clear()
    explore(AdaptiveSamples(12))
    assert len(played) == 2


def test_the_same_exploration_is_played_once(played: list[tuple[str, int]]) -> None:
    first = explore(AdaptiveSamples(10))
    second = explore(AdaptiveSamples(13, (first,)), 2)
    played.clear()
    assert explore(AdaptiveSamples(13, (first,)), 2).digest == second.digest
    assert not played


def test_a_killed_exploration_continues_with_the_same_episodes(played: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [(row.item_id, row.sample) for row in read_dataset(explore(AdaptiveSamples(16), iteration=3).folder)]
    play = agentevol.rollout.rollout.roll_out
    played.clear()

    def dying(*arguments: Any, **options: Any) -> list[Trajectory]:
        if len(played) >= 12:
            raise KeyboardInterrupt
        return play(*arguments, **options)

    monkeypatch.setattr(agentevol.rollout.rollout, "roll_out", dying)
    with pytest.raises(KeyboardInterrupt):
        explore(AdaptiveSamples(16), iteration=4)
    before = list(played)
    monkeypatch.setattr(agentevol.rollout.rollout, "roll_out", play)
    continued = explore(AdaptiveSamples(16), iteration=4)
    assert [(row.item_id, row.sample) for row in read_dataset(continued.folder)] == played
    assert played[: len(before)] == before
    assert len(played) == len(whole) == 16
