"""A policy becomes the champion by the paired test alone, and is challenged with the outcomes that were stored with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentevol.data.dataset import write_dataset
from agentevol.data.trajectory import Message, Trajectory
from tasks import mlflow_store, paths
from tasks.artifact import Artifact
from tasks.mlflow_champion import ALIAS, challenge, compare, model_name, wins
from tasks.policy_record import PolicyRecord

AGENTEVAL = Artifact(kind="instructions", path="data/agenteval", digest="a", counts={"maze": 12})
ENV_VERSIONS = {"maze": 1, "wordle": 2}


@pytest.mark.parametrize(
    ("a", "b", "won"), [("111111", "000000", True), ("11111", "00000", False), ("111111e", "0000001", True), ("000000", "111111", False)]
)
def test_only_a_significant_difference_wins(a: str, b: str, won: bool) -> None:
    test = compare(a, b)  # 6 of 6: p = 0.031; 5 of 5: p = 0.063
    assert test is not None
    assert wins(test) is won


def test_other_instructions_or_environment_versions_have_another_champion() -> None:
    assert compare("11", "111") is None
    assert model_name(AGENTEVAL, ENV_VERSIONS) == model_name(AGENTEVAL, {"maze": 1})
    assert model_name(AGENTEVAL, {"maze": 2}) != model_name(AGENTEVAL, ENV_VERSIONS)
    assert model_name(AGENTEVAL.model_copy(update={"digest": "b"}), ENV_VERSIONS) != model_name(AGENTEVAL, ENV_VERSIONS)


@pytest.mark.slow
def test_the_alias_moves_to_the_better_policy_and_its_version_refers_to_it(mlflow_project: Path) -> None:
    client = mlflow_store.connect()
    run = client.create_run(mlflow_store.get_or_create_experiment(client, "agentevol")).info.run_id

    def challenged(name: str, successes: int) -> tuple[bool, str]:
        verdict = challenge(client, run, f"run-{name}", policy(mlflow_project, name, successes), AGENTEVAL, ENV_VERSIONS)
        return verdict.champion, verdict.reason

    assert challenged("a", 2) == (True, "the first on these instructions")
    assert challenged("b", 5) == (False, "not better than run-a iteration-1 (version 1): 3 gained, 0 lost of 12, p = 0.25")
    assert challenged("c", 12) == (True, "better than run-a iteration-1 (version 1): 10 gained, 0 lost of 12, p = 0.002")
    assert challenged("c", 12)[0]  # again: still the champion, and no further version
    assert not challenged("a", 2)[0]
    name = model_name(AGENTEVAL, ENV_VERSIONS)
    champion = client.get_model_version_by_alias(name, ALIAS)
    assert [version.tags["sha256"] for version in client.search_model_versions(f"name='{name}'")] == ["c", "a"]
    assert (champion.tags["sha256"], champion.run_id, champion.source) == ("c", run, paths.resolve("models/c").as_uri())


def policy(project: Path, name: str, successes: int) -> PolicyRecord:
    messages = [Message("user", "?"), Message("assistant", "left", True), Message("user", "no")]
    episodes = [
        Trajectory(
            f"maze_{number}",
            "maze",
            "maze",
            "eval",
            name,
            name,
            1,
            0,
            messages,
            float(number < successes),
            number < successes,
            1,
            "finished",
        )
        for number in range(12)
    ]
    write_dataset(project / name, episodes, {})
    evaluated = Artifact(kind="trajectories", path=name, digest=f"episodes of {name}", counts={"maze": 12})
    model, data = Artifact(kind="model", path=f"models/{name}", digest=name), Artifact(kind="trajectories", path="d", digest="d")
    scores = Artifact(kind="scores", path="s", digest="s", facts={"overall": {"success": successes / 12}})
    return PolicyRecord("iteration-1", 1, model, data, evaluated, scores)
