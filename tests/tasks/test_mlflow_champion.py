"""A policy becomes the champion by paired tests against the random player and the champion alone, at levels that add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentevol.data.dataset import write_dataset
from agentevol.data.trajectory import Message, Trajectory
from tasks import mlflow_store, paths
from tasks.artifact import Artifact
from tasks.mlflow_champion import ALIAS, Verdict, challenge, compare, model_name, wins
from tasks.policy_record import PolicyRecord
from tasks.store_gc import registered_digests

VALIDATION = Artifact(kind="instructions", path="validation", digest="a", counts={"maze": 24})
ENV_VERSIONS = {"maze": 1, "wordle": 2}


@pytest.mark.parametrize(
    ("a", "b", "won"), [("111111", "000000", True), ("11111", "00000", False), ("111111e", "0000001", True), ("000000", "111111", False)]
)
def test_only_a_significant_difference_wins(a: str, b: str, won: bool) -> None:
    test = compare(a, b)  # 6 of 6: p = 0.031; 5 of 5: p = 0.063
    assert test is not None
    assert wins(test, 0.05) is won
    assert not wins(test, 0.03)


def test_other_instructions_or_environment_versions_have_another_champion() -> None:
    assert compare("11", "111") is None
    assert model_name(VALIDATION, ENV_VERSIONS) == model_name(VALIDATION, {"maze": 1})
    assert model_name(VALIDATION, {"maze": 2}) != model_name(VALIDATION, ENV_VERSIONS)
    assert model_name(VALIDATION.model_copy(update={"digest": "b"}), ENV_VERSIONS) != model_name(VALIDATION, ENV_VERSIONS)


class Challenges:
    """Challenges of one registered model; a random player solves the first two instructions."""

    def __init__(self, project: Path, random_successes: int | None = 2) -> None:
        self.project, self.client = project, mlflow_store.connect()
        self.run = self.client.create_run(mlflow_store.get_or_create_experiment(self.client, "agentevol")).info.run_id
        self.random = None if random_successes is None else write_episodes(project, "random", random_successes)

    def __call__(self, name: str, successes: int) -> Verdict:
        record = policy(self.project, name, successes)
        return challenge(self.client, self.run, f"run-{name}", record, self.random, VALIDATION, ENV_VERSIONS)


@pytest.mark.slow
def test_the_alias_moves_to_the_better_policy_and_its_version_refers_to_it(mlflow_project: Path) -> None:
    challenged = Challenges(mlflow_project)
    first = challenged("a", 14)
    assert (first.champion, first.version) == (True, "1")
    assert first.reason == (
        "the first on these instructions, better than the random player: 12 gained, 0 lost of 24, p < 0.001 (challenge 1, level 0.025)"
    )
    second = challenged("b", 17)
    assert not second.champion
    assert second.reason == "not better than run-a iteration-1 (version 1): 3 gained, 0 lost of 24, p = 0.25 (challenge 1, level 0.025)"
    third = challenged("c", 24)
    assert third.reason == "better than run-a iteration-1 (version 1): 10 gained, 0 lost of 24, p = 0.002 (challenge 2, level 0.0083)"
    assert challenged("c", 24) == third, "again: still the champion, and no further version"
    assert not challenged("a", 14).champion
    name = model_name(VALIDATION, ENV_VERSIONS)
    champion = challenged.client.get_model_version_by_alias(name, ALIAS)
    assert [version.tags["sha256"] for version in challenged.client.search_model_versions(f"name='{name}'")] == ["c", "a"]
    assert (champion.tags["sha256"], champion.run_id, champion.source) == ("c", challenged.run, paths.resolve("models/c").as_uri())
    kept = registered_digests()  # what `agentevol data gc` keeps
    assert {"a", "c", champion.tags["episodes"], VALIDATION.digest} <= kept
    assert "b" not in kept


@pytest.mark.slow
def test_a_policy_that_is_not_better_than_the_random_player_is_no_champion(mlflow_project: Path) -> None:
    challenged = Challenges(mlflow_project, random_successes=8)
    verdict = challenged("a", 11)
    assert (verdict.champion, verdict.version) == (False, "")
    assert verdict.reason == "not better than the random player: 3 gained, 0 lost of 24, p = 0.25 (challenge 1, level 0.025)"
    assert not challenged.client.search_model_versions(f"name='{model_name(VALIDATION, ENV_VERSIONS)}'")


@pytest.mark.slow
def test_where_no_environment_lists_its_actions_there_is_no_random_player_to_beat(mlflow_project: Path) -> None:
    verdict = Challenges(mlflow_project, random_successes=None)("a", 1)
    assert verdict.champion
    assert verdict.reason == "the first on these instructions, whose environments list no actions for a random player"


@pytest.mark.slow
def test_a_later_challenger_needs_more_and_a_repeated_one_does_not(mlflow_project: Path) -> None:
    """At 5 % each, six gained and none lost (p = 0.031) would win; seven (p = 0.016) would win the first challenge."""
    challenged = Challenges(mlflow_project)
    assert challenged("a", 14).champion
    for _ in range(2):  # the same run again, as after a kill
        assert challenged("b", 20).reason.endswith("6 gained, 0 lost of 24, p = 0.031 (challenge 1, level 0.025)")
    assert challenged("c", 21).reason.endswith("7 gained, 0 lost of 24, p = 0.016 (challenge 2, level 0.0083)")
    assert challenged("d", 24).reason.endswith("10 gained, 0 lost of 24, p = 0.002 (challenge 3, level 0.0042)")
    assert challenged("e", 24).reason.endswith("(challenge 1, level 0.025)"), "a new champion has a new sequence"


def policy(project: Path, name: str, successes: int) -> PolicyRecord:
    validated = write_episodes(project, name, successes)
    model, data = Artifact(kind="model", path=f"models/{name}", digest=name), Artifact(kind="trajectories", path="d", digest="d")
    scores = Artifact(kind="scores", path="s", digest="s", facts={"overall": {"n": 24, "success": successes / 24, "reward": 0.0}})
    return PolicyRecord("iteration-1", 1, model, data, validated, scores, validation_episodes=validated, validation_scores=scores)


def write_episodes(project: Path, name: str, successes: int) -> Artifact:
    messages = [Message("user", "?"), Message("assistant", "left", True), Message("user", "no")]
    episodes = [
        Trajectory(
            f"maze_{number}", "maze", "maze", "validation", name, name, 1, 0, messages,
            float(number < successes), number < successes, 1, "finished",
        )
        for number in range(24)
    ]  # fmt: skip
    write_dataset(project / name, episodes, {})
    return Artifact(kind="trajectories", path=name, digest=f"episodes of {name}", counts={"maze": 24})
