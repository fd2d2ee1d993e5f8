"""MLflow records everything once, another environment version is another run, and former runs are neither changed nor continued."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from agentevol.data.dataset import write_dataset
from agentevol.data.trajectory import Message, Trajectory
from agentevol.settings.schema import EvolveParams, Params
from tasks.artifact import Artifact
from tasks.git_commit import commit
from tasks.mlflow_run import EXPERIMENT, RunTracker, retry_once
from tasks.mlflow_store import SCHEMA_TAG, TRACKING_SCHEMA, connect
from tasks.policy_record import PolicyRecord
from tasks.run_identity import group_tags, run_key, run_name
from tests import ROOT

BASE = Artifact(kind="model", path="models/base", digest="base")
PROVENANCE = {"datasets": {"agenteval": "a"}, "env_versions": {"maze": 1}, "tasks": {"roll_out_chunk": "1"}, "precision": "float32"}
EPISODES = [
    Trajectory(
        f"maze_{number}", "maze", "maze", "eval", "bc-large", "h", 0, 0,
        [Message("user", "?"), Message("assistant", "left", True), Message("user", "no")], 0.0, False, 1, "truncated", error=cause,
    )
    for number, cause in enumerate([None, "the context of 9 tokens is full", None])
]  # fmt: skip


def test_everything_that_decides_a_result_is_in_the_run_key() -> None:
    key = run_key(Params(), BASE, PROVENANCE)
    assert key == run_key(Params(), BASE, dict(reversed(PROVENANCE.items())))
    for name in PROVENANCE:
        assert run_key(Params(), BASE, PROVENANCE | {name: {"agenteval": "b"}}) != key
    assert run_key(Params(seed=1), BASE, PROVENANCE) != key
    assert run_key(Params(), BASE.model_copy(update={"digest": "other"}), PROVENANCE) != key


def test_runs_of_a_group_differ_only_in_m_and_the_seed() -> None:
    one = group_tags(Params())["agentevol.setting"]
    more = Params().evolve.model_copy(update={"iterations": 9})
    assert group_tags(Params(seed=3, evolve=more))["agentevol.setting"] == one
    for other in (Params(finetune={"max_steps": 300}), Params(evolve={"samples": 3}), Params(explore={"temperature": 1.0})):
        assert group_tags(other)["agentevol.setting"] != one


def test_a_dataset_that_two_runs_log_at_once_is_logged() -> None:
    """Observed: UNIQUE constraint failed: datasets.experiment_id, datasets.name, datasets.digest."""
    calls: list[str] = []

    def log_dataset() -> None:
        calls.append("log")
        if len(calls) == 1:  # the other run was faster
            raise MlflowException("UNIQUE constraint failed")

    retry_once(log_dataset)
    assert len(calls) == 2


@pytest.mark.slow
def test_runs_of_the_previous_version_are_reported_once_and_neither_changed_nor_continued(
    mlflow_project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = connect()
    experiment = client.create_experiment(EXPERIMENT)
    key = run_key(Params(), BASE, PROVENANCE)  # even with the same key, a former run is another run
    former_tags = {"run_key": key, "model.base": BASE.digest, "evo.setting": "K1 initial base reward_weighted 123456"}
    former = client.create_run(experiment, run_name="M4-K1-s0", tags=former_tags).info.run_id
    client.log_metric(former, "data/learnt_from", 40.0)
    client.set_terminated(former)
    before = client.get_run(former).to_dictionary()
    capsys.readouterr()

    for _ in range(2):
        with RunTracker(Params(), BASE, PROVENANCE) as tracker:
            assert tracker.id != former
    lines = [line for line in capsys.readouterr().err.splitlines() if "previous version" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"MLflow's experiment {EXPERIMENT} holds 1 run of a previous version: they stay readable")
    assert client.get_run(former).to_dictionary() == before
    runs = {run.info.run_id: run.data.tags for run in client.search_runs([experiment])}
    assert set(runs) == {former, tracker.id}
    assert runs[tracker.id][SCHEMA_TAG] == TRACKING_SCHEMA


@pytest.mark.slow
def test_a_policy_logged_again_after_a_kill_is_there_once(mlflow_project: Path) -> None:
    """In a process of its own, as every run is."""
    command = [sys.executable, "-m", "tests.tasks.test_mlflow_run"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, cwd=mlflow_project, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]


def log_twice(project: Path) -> None:
    write_dataset(project / "episodes", EPISODES, {})
    evaluated = {"seconds": 2.0, "episodes": 3, "tokens": 30, "truncated": {"context": 1, "loop": 2}, "errors": 0}
    trained = {"seconds": 5.0, "tokens": 70, "trained_tokens": 60, "steps": 4, "too_long": ["maze_8"], "loss": [[1, 2.0]]}
    scores = dict.fromkeys(("success", "success_low", "success_high", "reward", "reward_low", "reward_high"), 0.5) | {"errors": 0, "n": 3}
    policy = PolicyRecord(
        "bc-large", 0,
        BASE.model_copy(update={"facts": trained}),
        Artifact(kind="trajectories", path="data", digest="d", counts={"maze": 7}),
        Artifact(kind="trajectories", path="episodes", digest="e", counts={"maze": 3}, facts=evaluated),
        Artifact(kind="scores", path="scores", digest="s", facts={"overall": scores}),
    )  # fmt: skip
    with RunTracker(Params(), BASE, PROVENANCE) as tracker:
        tracker.log_bc_large(policy)
        for kind in ("traces", "metrics"):
            tracker.client.delete_tag(tracker.id, f"agentevol.logged.{kind}.bc-large")  # as if it was killed before it was set
    for _ in range(2):
        with RunTracker(Params(), BASE, PROVENANCE) as tracker:
            tracker.log_bc_large(policy)
    client = connect()
    traces = client.search_traces(locations=[tracker.experiment], include_spans=False)
    assert sorted(trace.info.tags["mlflow.traceName"] for trace in traces) == ["maze_0", "maze_1", "maze_2"]
    data = client.get_run(tracker.id).data
    metrics = data.metrics
    assert all(len(client.get_metric_history(tracker.id, name)) == 1 for name in metrics)
    assert data.tags["agentevol.setting"].startswith("K1 initial base reward_weighted ")
    assert data.tags["mlflow.source.git.commit"] == commit()  # which code it was
    expected = {"learn/seconds": 5, "learn/trained_tokens": 60, "evaluate/tokens": 30, "data/too_long": 1, "evaluate/truncated_context": 1}
    assert {name: metrics[f"bc_large/{name}"] for name in expected} == expected
    remark = "BC-Large exclusions: 1 too long for training, 1 truncated by context (evaluate), 2 truncated by loop (evaluate)"
    assert policy.exclusion_remark() == remark


if __name__ == "__main__":
    log_twice(Path.cwd())


def test_the_name_of_a_run_fits_into_a_file_name() -> None:
    def name(iterations: int) -> str:
        return run_name(Params(evolve=EvolveParams(iterations=iterations, samples=[*range(1, iterations + 1)])))

    assert name(3) == "M3-K1.2.3-s0"
    assert name(200).startswith("M200-K1.2.3.4.5")
    assert name(200).endswith("...-s0")
    assert len(name(200)) < 120
