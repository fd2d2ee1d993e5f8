"""Episodes are played in chunks of fixed composition, and shared between runs that differ in K."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

import agentevol.rollout.rollout
from agentevol.data.dataset import read_dataset, write_instructions
from agentevol.data.trajectory import Message, Trajectory
from agentevol.rollout.sampling import Sampling
from agentevol.settings.engines import EngineParams
from agentevol.settings.schema import RolloutParams
from envs import registry
from envs.base import Instruction
from tasks import paths
from tasks.artifact import Artifact
from tasks.rollout import NothingPlayed, PolicyChanged, roll_out
from tests.flows.tiny import Pushing

pytestmark = pytest.mark.usefixtures("prefect_api", "project", "world")
POLICY = Artifact(kind="model", path="models/x", digest="model")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENVIRONMENTS, "w", "tests.flows.tiny:Pushing")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """A policy that always says hello; what it was asked to play."""
    asked: list[tuple[str, int]] = []

    def play(folder: Any, instructions: Sequence[Instruction], *, samples: Sequence[int], policy: str, **_: Any) -> list[Trajectory]:
        asked.extend((item.item_id, sample) for sample in samples for item in instructions)
        talk = [Message("user", "?"), Message("assistant", "hello", True)]
        common = {"env": "w", "task_type": "t", "split": "explore", "policy": policy, "policy_hash": POLICY.digest, "iteration": 1}
        return [
            Trajectory(
                item_id=item.item_id,
                sample=sample,
                messages=talk,
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

    monkeypatch.setattr(agentevol.rollout.rollout, "roll_out", play)
    return asked


def instructions(count: int) -> Artifact:
    items = [Instruction(f"w_{i}", "w", "t", "easy", f"{i}") for i in range(count)]
    made = write_instructions(paths.root() / "data", {"explore": items})
    return Artifact(kind="instructions", path="data", digest=made.digest, counts=made.counts)


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


def test_every_instruction_is_played_in_order(played: list[tuple[str, int]]) -> None:
    made = explore(samples=2)
    expected = [(f"w_{i}", sample) for sample in range(2) for i in range(5)]
    assert [(row.item_id, row.sample) for row in read_dataset(made.folder)] == expected == played
    assert made.facts["episodes"] == made.rows == 10
    assert made.facts["tokens"] == 20
    assert made.facts["successes"] == 10


def test_more_samples_take_over_what_fewer_have_played(played: list[tuple[str, int]]) -> None:
    explore(samples=1)
    played.clear()
    explore(samples=3)
    assert {sample for _, sample in played} == {1, 2}


def test_other_sampling_is_other_work(played: list[tuple[str, int]]) -> None:
    explore(samples=1)
    for change in ({"temperature": 1.0}, {"top_p": 0.9}, {"seed": 1}):
        played.clear()
        explore(samples=1, sampling=change)
        assert len(played) == 5


def test_another_engine_is_other_work_and_how_an_endpoint_is_asked_is_not(played: list[tuple[str, int]]) -> None:
    endpoint = EngineParams(kind="openai", url="http://127.0.0.1:1/v1", model="m")
    for engine, times in ((None, 5), (endpoint, 5), (endpoint.model_copy(update={"max_retries": 1, "timeout": 3.0}), 0), (None, 0)):
        played.clear()
        explore(samples=1, engine=engine)
        assert len(played) == times


def test_faults_alone_are_no_result_and_are_played_again(played: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    sound = agentevol.rollout.rollout.roll_out

    def broken(*given: Any, **named: Any) -> list[Trajectory]:
        rows = sound(*given, **named)
        return [replace(row, status="error", error="engine: no memory" if row.item_id != "w_1" else "environment: gone") for row in rows]

    monkeypatch.setattr(agentevol.rollout.rollout, "roll_out", broken)
    with pytest.raises(NothingPlayed, match=r"bc-base could not play: a fault ended all 5 episodes.*this one: engine: no memory\."):
        explore(samples=1)
    monkeypatch.setattr(agentevol.rollout.rollout, "roll_out", sound)
    assert explore(samples=1).facts["successes"] == 5


def test_another_environment_version_is_played_again_and_retries_are_no_change(
    played: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    explore(samples=1)
    played.clear()
    explore(samples=1, settings=RolloutParams(chunk_size=2, max_retries=5))
    assert not played
    monkeypatch.setattr(Pushing, "version", 2)
    explore(samples=1)
    assert len(played) == 5


def test_some_faults_stay_on_record_until_a_run_asks_with_other_retries(
    played: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = agentevol.rollout.rollout.roll_out

    def shaky(*given: Any, **named: Any) -> list[Trajectory]:
        rows = sound(*given, **named)
        return [replace(row, status="error", error="environment: gone") if row.item_id == "w_1" else row for row in rows]

    monkeypatch.setattr(agentevol.rollout.rollout, "roll_out", shaky)
    assert explore(samples=1).facts["successes"] == 4
    assert "a fault ended 1 of 5 episodes (explore), most often this one: environment: gone" in capsys.readouterr().err
    monkeypatch.setattr(agentevol.rollout.rollout, "roll_out", sound)
    played.clear()
    assert explore(samples=1).facts["errors"] == 1
    assert not played, "the same run has the same figures"
    healed = explore(samples=1, settings=RolloutParams(chunk_size=2, max_retries=2))
    assert {item for item, _ in played} == {"w_0", "w_1"}, "the chunk with the fault, and no other"
    assert (healed.facts["errors"], healed.facts["successes"]) == (0, 5)
    played.clear()
    assert explore(samples=1).facts["errors"] == 1, "the first run keeps its figures"
    assert explore(samples=1, settings=RolloutParams(chunk_size=2, max_retries=2)).facts["errors"] == 0
    assert not played


def test_a_model_that_was_replaced_while_it_played_leaves_no_episodes_under_the_old_name(played: list[tuple[str, int]]) -> None:
    asked = {"name": "bc-base", "instructions": instructions(5), "split": "explore", "samples": 1, "sampling": Sampling()}
    with pytest.raises(PolicyChanged, match=r"models/x was replaced while bc-base was played"):
        roll_out(policy=POLICY.model_copy(update={"digest": "other"}), settings=RolloutParams(), **asked)
    assert not list((paths.root() / "runs" / "store").glob("play-*/manifest.json"))


def test_the_parts_of_a_rollout_are_told_so_that_what_is_shared_is_counted_once(played: list[tuple[str, int]]) -> None:
    one, three = explore(samples=1), explore(samples=3)
    assert [part["made"] for part in one.facts["parts"]] == [part["made"] for part in three.facts["parts"][:3]]
    assert sum(part["episodes"] for part in three.facts["parts"]) == three.facts["episodes"] == 15
