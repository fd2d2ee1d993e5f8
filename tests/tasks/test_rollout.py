"""Episodes are rolled out in chunks of fixed composition, and shared between runs that differ in K."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

import agentevol.rollout.rollout
import tasks.rollout
from agentevol.data.dataset import read_dataset, write_instructions
from agentevol.data.trajectory import Message, Trajectory
from agentevol.rollout.sampling import Sampling
from agentevol.settings.cluster import ClusterParams
from agentevol.settings.engines import EngineParams
from agentevol.settings.rollout import RolloutParams
from envs import registry
from envs.base import Instruction
from tasks import paths
from tasks.artifact import Artifact
from tasks.cluster import Work
from tasks.rollout import PolicyChanged, RolloutFailed, roll_out
from tests.flows.tiny import Pushing

pytestmark = pytest.mark.usefixtures("prefect_api", "project", "environment")
POLICY = Artifact(kind="model", path="models/x", digest="model")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENVIRONMENTS, "w", "tests.flows.tiny:Pushing")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """A policy that always answers hello; returns the episodes that it has played."""
    calls: list[tuple[str, int]] = []

    def roll_out(folder: Any, instructions: Sequence[Instruction], *, samples: Sequence[int], policy: str, **_: Any) -> list[Trajectory]:
        calls.extend((item.item_id, sample) for sample in samples for item in instructions)
        messages = [Message("user", "?"), Message("assistant", "hello", True)]
        common = {"env": "w", "task_type": "t", "split": "explore", "policy": policy, "policy_hash": POLICY.digest, "iteration": 1}
        return [
            Trajectory(
                item_id=item.item_id,
                sample=sample,
                messages=messages,
                reward=1.0,
                success=True,
                rounds=1,
                status="finished",
                tokens=2,
                **common,
            )
            for item in instructions
            for sample in samples
        ]

    monkeypatch.setattr(agentevol.rollout.rollout, "roll_out", roll_out)
    return calls


def instructions(count: int) -> Artifact:
    items = [Instruction(f"w_{i}", "w", "t", "easy", f"{i}") for i in range(count)]
    dataset = write_instructions(paths.root() / "data", {"explore": items})
    return Artifact(kind="instructions", path="data", digest=dataset.digest, counts=dataset.counts)


def explore(samples: int, chunk: int = 2, **changes: Any) -> Artifact:
    return roll_out(
        policy=POLICY,
        name="bc-base",
        instructions=instructions(5),
        split="explore",
        samples=samples,
        sampling=Sampling(**{"temperature": 0.7, "iteration": 1} | changes.pop("sampling", {})),
        **{"settings": RolloutParams(chunk_size=chunk)} | changes,
    )


def test_every_instruction_is_rolled_out_in_order(played: list[tuple[str, int]]) -> None:
    episodes = explore(samples=2)
    expected = [(f"w_{i}", sample) for sample in range(2) for i in range(5)]
    assert [(row.item_id, row.sample) for row in read_dataset(episodes.folder)] == expected == played
    assert episodes.facts["episodes"] == episodes.rows == 10
    assert episodes.facts["tokens"] == 20
    assert episodes.facts["successes"] == 10


def test_more_samples_reuse_the_episodes_of_fewer_samples(played: list[tuple[str, int]]) -> None:
    explore(samples=1)
    played.clear()
    explore(samples=3)
    assert {sample for _, sample in played} == {1, 2}


def test_other_sampling_settings_are_rolled_out_again(played: list[tuple[str, int]]) -> None:
    explore(samples=1)
    for change in ({"temperature": 1.0}, {"top_p": 0.9}, {"seed": 1}):
        played.clear()
        explore(samples=1, sampling=change)
        assert len(played) == 5


def test_another_engine_is_rolled_out_again_and_other_request_settings_are_not(played: list[tuple[str, int]]) -> None:
    endpoint = EngineParams(kind="openai", url="http://127.0.0.1:1/v1", model="m")
    for engine, times in ((None, 5), (endpoint, 5), (endpoint.model_copy(update={"max_retries": 1, "timeout": 3.0}), 0), (None, 0)):
        played.clear()
        explore(samples=1, engine=engine)
        assert len(played) == times


def test_a_rollout_of_errors_only_is_not_kept(played: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    working = agentevol.rollout.rollout.roll_out

    def broken(*args: Any, **kwargs: Any) -> list[Trajectory]:
        rows = working(*args, **kwargs)
        return [replace(row, status="error", error="engine: no memory" if row.item_id != "w_1" else "environment: gone") for row in rows]

    monkeypatch.setattr(agentevol.rollout.rollout, "roll_out", broken)
    with pytest.raises(
        RolloutFailed, match=r"bc-base: all 5 episodes \(explore\) ended with an error\. The most common one: engine: no memory\."
    ):
        explore(samples=1)
    monkeypatch.setattr(agentevol.rollout.rollout, "roll_out", working)
    assert explore(samples=1).facts["successes"] == 5


def test_another_environment_version_is_rolled_out_again_and_other_retries_are_not(
    played: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    explore(samples=1)
    played.clear()
    explore(samples=1, settings=RolloutParams(chunk_size=2, max_retries=5))
    assert not played
    monkeypatch.setattr(Pushing, "version", 2)
    explore(samples=1)
    assert len(played) == 5


@pytest.mark.slow
def test_some_errors_stay_on_record_until_a_run_has_another_retry_policy(
    played: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    working = agentevol.rollout.rollout.roll_out

    def unreliable(*args: Any, **kwargs: Any) -> list[Trajectory]:
        rows = working(*args, **kwargs)
        return [replace(row, status="error", error="environment: gone") if row.item_id == "w_1" else row for row in rows]

    monkeypatch.setattr(agentevol.rollout.rollout, "roll_out", unreliable)
    assert explore(samples=1).facts["successes"] == 4
    assert "bc-base: 1 of 5 episodes (explore) ended with an error. The most common one: environment: gone" in capsys.readouterr().err
    monkeypatch.setattr(agentevol.rollout.rollout, "roll_out", working)
    played.clear()
    assert explore(samples=1).facts["errors"] == 1
    assert not played, "the same run has the same results"
    repeated = explore(samples=1, settings=RolloutParams(chunk_size=2, max_retries=2))
    assert {item for item, _ in played} == {"w_0", "w_1"}, "the chunk with the error, and no other"
    assert (repeated.facts["errors"], repeated.facts["successes"]) == (0, 5)
    played.clear()
    assert explore(samples=1).facts["errors"] == 1, "the first run keeps its results"
    assert explore(samples=1, settings=RolloutParams(chunk_size=2, max_retries=2)).facts["errors"] == 0
    assert not played
    assert explore(samples=1, settings=RolloutParams(chunk_size=2, step_timeout=600.0)).facts["errors"] == 0
    assert {item for item, _ in played} == {"w_0", "w_1"}, "a longer time limit repeats the chunk, too"


def test_a_model_replaced_during_its_rollout_stores_no_episodes_under_the_old_digest(played: list[tuple[str, int]]) -> None:
    arguments = {"name": "bc-base", "instructions": instructions(5), "split": "explore", "samples": 1, "sampling": Sampling()}
    with pytest.raises(PolicyChanged, match=r"models/x was replaced during the rollout of bc-base"):
        roll_out(policy=POLICY.model_copy(update={"digest": "other"}), settings=RolloutParams(), **arguments)
    assert not list((paths.root() / "runs" / "store").glob("roll-out-chunk-*/manifest.json"))


def test_the_facts_list_the_chunks_so_that_shared_work_is_counted_once(played: list[tuple[str, int]]) -> None:
    one, three = explore(samples=1), explore(samples=3)
    assert [chunk["path"] for chunk in one.facts["chunks"]] == [chunk["path"] for chunk in three.facts["chunks"][:3]]
    assert sum(chunk["episodes"] for chunk in three.facts["chunks"]) == three.facts["episodes"] == 15


@pytest.mark.parametrize(("workers", "expected"), [(1, (3, 3)), (2, (2, None))])
def test_a_node_plays_with_the_threads_of_the_run(
    played: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, workers: int, expected: tuple[int, int | None]
) -> None:
    found: list[Work] = []
    monkeypatch.setattr(tasks.rollout, "compute_on_cluster", lambda _, calls, cluster, work, title: found.append(work))
    explore(samples=1, settings=RolloutParams(num_workers=workers), cluster=ClusterParams(address="auto"), num_threads=3)
    assert [(work.cpus, work.threads) for work in found] == [expected]
