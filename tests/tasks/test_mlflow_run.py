"""MLflow records everything once, another environment version is another run, and former runs are neither changed nor continued."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from agentevol.data.dataset import write_dataset
from agentevol.data.exploration import ExplorationGroup
from agentevol.data.trajectory import Message, Trajectory
from agentevol.settings.evolve import EvolveParams
from agentevol.settings.schema import Params
from docs.generate import metrics as documented
from tasks.artifact import Artifact
from tasks.git_commit import commit
from tasks.mlflow_metrics import LOSS, bc_large_metrics, final_metrics, hosted_metrics, policy_metrics, random_metrics, zero_shot_metrics
from tasks.mlflow_run import EXPERIMENT, LOGGED, RunTracker, retry_once
from tasks.mlflow_store import SCHEMA_TAG, TRACKING_SCHEMA, connect
from tasks.policy_record import BC_BASE_NAME, BC_LARGE_NAME, PolicyRecord
from tasks.run_identity import group_tags, run_key, run_name
from tests import ROOT

BASE = Artifact(kind="model", path="models/base", digest="base")
PROVENANCE = {"datasets": {"agenteval": "a"}, "env_versions": {"maze": 1}, "tasks": {"roll_out_chunk": "1"}, "precision": "float32"}
EPISODES = [
    Trajectory(
        f"maze_{number}", "maze", "maze", "eval", "bc-base", "h", 0, 0,
        [Message("user", "?"), Message("assistant", "left", True), Message("user", "no")], reward, reward > 0, 1, status, error=cause,
        seconds=4.5, message_seconds=[1.0, 4.0, 4.5],
    )
    for number, (status, cause, reward) in enumerate([
        ("truncated", None, 0.0), ("truncated", "the context of 9 tokens is full", 0.0), ("finished", None, 1.0),
        ("error", "environment: OSError: gone", 0.0),
    ])
]  # fmt: skip

GROUP = ExplorationGroup("maze", "5-9 steps: a/b", 8, 9, 7, 4, 3, 1)


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


def policy_record(name: str = BC_LARGE_NAME, iteration: int = 0, episodes: str = "episodes") -> PolicyRecord:
    """A policy with every kind of cost, count and score."""
    usage = {"requests": 5, "repeated": 1, "tokens_in": 40, "tokens_out": 9}
    evaluated = {"seconds": 2.0, "episodes": 3, "tokens": 30, "truncated": {"context": 1, "loop": 2}, "errors": 0, **usage}
    trained = {"seconds": 5.0, "tokens": 70, "trained_tokens": 60, "steps": 4, "too_long": ["maze_8"], "loss": [[1, 2.0]]}
    rule_counts = ("pairs", "instructions_without_pairs", "groups", "groups_without_variance", "without_reward")
    trained["rule_counts"] = dict.fromkeys(rule_counts, 2)
    rates = [f"{name}{bound}" for name in ("success", "reward", "progress") for bound in ("", "_low", "_high")]
    scores = dict.fromkeys(rates, 0.5) | {"errors": 0, "n": 3, "progress_n": 3, "successes": 2, "rounds": 4.0}
    facts = {"maze": scores | {"errors": 1}, "wordle": scores, "overall": scores | {"errors": 1}}
    explored = evaluated | {"errors": 2}
    kept = {"dropped": {"failed": 2, "over the cap": 1, "error": 0}}
    quality = dict.fromkeys(("auc", "auc_low", "auc_high", "rounds_auc", "brier", "base_brier", "calibration_error"), 0.5)
    judged = {"seconds": 3.0, "quality": {"maze": quality, "overall": quality | {"auc": None}}}
    return PolicyRecord(
        name, iteration,
        BASE.model_copy(update={"facts": trained}),
        Artifact(kind="trajectories", path="data", digest="d", counts={"maze": 7}),
        Artifact(kind="trajectories", path=episodes, digest="e", counts={"maze": 3}, facts=evaluated),
        Artifact(kind="scores", path="scores", digest="s", facts=facts),
        Artifact(kind="trajectories", path="explored", digest="x", counts={"maze": 9}, facts=explored) if iteration else None,
        Artifact(kind="trajectories", path="kept", digest="k", counts={"maze": 6}, facts=kept) if iteration else None,
        Artifact(kind="trajectories", path="judged", digest="j", counts={"maze": 9}, facts=judged) if iteration else None,
        exploration=Artifact(kind="summary", path="summary", digest="s", facts={"groups": [asdict(GROUP)]}) if iteration else None,
    )  # fmt: skip


def log_both(tracker: RunTracker) -> None:
    tracker.log_policy(policy_record(BC_BASE_NAME))
    tracker.log_bc_large(policy_record())


def log_twice(project: Path) -> None:
    write_dataset(project / "episodes", EPISODES, {}, with_times=True)
    with RunTracker(Params(), BASE, PROVENANCE) as tracker:
        log_both(tracker)
        for name in ("bc-base", "bc-large"):
            for kind in ("traces", "metrics", "model"):
                tracker.client.delete_tag(tracker.id, f"{LOGGED}.{kind}.{name}")  # as if it was killed before it was set
    for _ in range(2):
        with RunTracker(Params(), BASE, PROVENANCE) as tracker:
            log_both(tracker)
    client = connect()
    run = client.get_run(tracker.id)
    data, metrics = run.data, run.data.metrics
    assert all(len(client.get_metric_history(tracker.id, name)) == 1 for name in metrics)
    assert data.tags["agentevol.setting"].startswith("K1 initial base reward_weighted ")
    assert data.tags["mlflow.source.git.commit"] == commit()  # which code it was
    expected = {"time/training": 5, "tokens/with_loss": 60, "tokens/evaluation": 30, "training/too_long": 1, "success_bc_large/maze": 0.5}
    assert {name: metrics[name] for name in expected} == expected
    remark = "BC-Large exclusions: 1 too long for training, 1 truncated by context (evaluate), 2 truncated by loop (evaluate)"
    assert policy_record().exclusion_remark() == remark

    models = {model.name: model for model in client.search_logged_models([tracker.experiment])}
    assert set(models) == {"bc-base", "bc-large"}
    assert len(client.search_logged_models([tracker.experiment])) == 2
    assert len(run.outputs.model_outputs) == 2
    base = models["bc-base"]
    assert (base.source_run_id, base.status, base.model_type) == (tracker.id, "READY", "policy")
    assert base.params["policy"] == "BC-Base"
    assert base.tags["sha256"] == BASE.digest
    assert {metric.key: metric.value for metric in base.metrics}["success/overall"] == 0.5
    check_traces(client, tracker.experiment, base.model_id)


def check_traces(client: MlflowClient, experiment: str, model: str) -> None:
    """The rollout's durations; failures with their reason."""
    traces = [trace for trace in client.search_traces(locations=[experiment]) if trace.info.trace_metadata["mlflow.modelId"] == model]
    traces.sort(key=lambda trace: trace.info.tags["mlflow.traceName"])
    assert [trace.info.tags["mlflow.traceName"] for trace in traces] == ["maze_0", "maze_1", "maze_2", "maze_3"]
    assert [trace.info.state for trace in traces] == ["ERROR", "ERROR", "OK", "ERROR"]
    roots = [next(span for span in trace.data.spans if span.parent_id is None) for trace in traces]
    reasons = [
        "failure: reward 0 after 1 round (truncated: the limit of rounds)",
        "failure: reward 0 after 1 round (truncated: the context of 9 tokens is full)",
        "",
        "error: environment: OSError: gone",
    ]
    assert [root.status.description for root in roots] == reasons
    assert [root.outputs.get("reason", "") for root in roots] == reasons, "the page of a trace shows the outputs, and no description"
    durations = {span.name: (span.end_time_ns - span.start_time_ns) / 1e9 for span in traces[2].data.spans}
    assert {name: round(seconds, 3) for name, seconds in durations.items()} == {"maze_2": 4.5, "round 1": 3.0, "environment": 0.5}


def test_every_metric_is_documented() -> None:
    policy = replace(policy_record("iteration-1", 1), validation_scores=policy_record().scores)
    names = {*policy_metrics(policy), *zero_shot_metrics(policy_record("zero-shot")), *bc_large_metrics(policy_record())}
    names |= {*hosted_metrics(replace(policy_record("GPT-4"), training_data=None)), *random_metrics(policy_record().scores)}
    names |= {*final_metrics(policy_record(), policy_record("iteration-1", 1), policy_record()), f"{LOSS}/bc-base"}
    patterns = [re.sub(r"<[a-z_]+>", "[^/]+", name) for name in documented.names()]
    assert not sorted(name for name in names if not any(re.fullmatch(pattern, name) for pattern in patterns))
    unused = [
        pattern
        for pattern in patterns
        if not pattern.startswith(("agentevol", "mlflow")) and not any(re.fullmatch(pattern, name) for name in names)
    ]
    assert not unused


def test_where_the_episodes_of_an_exploration_went_is_logged() -> None:
    metrics = policy_metrics(policy_record("iteration-1", 1))
    assert metrics["exploration_episodes/maze/5-9 steps_ a_b"] == 9
    assert metrics["exploration_coverage/maze/5-9 steps_ a_b"] == 0.5
    assert (metrics["exploration/covered"], metrics["exploration/covered_without_expert"], metrics["exploration/without_expert"]) == (
        4,
        1,
        3,
    )


def test_what_is_not_unusual_is_not_logged() -> None:
    names = set(policy_metrics(policy_record("iteration-1", 1)))
    assert {"errors/overall", "errors/maze", "exploration/dropped_over_the_cap", "exploration/errors"} <= names
    assert not {"errors/wordle", "exploration/dropped_error"} & names


if __name__ == "__main__":
    log_twice(Path.cwd())


def test_the_name_of_a_run_fits_into_a_file_name() -> None:
    def name(iterations: int) -> str:
        return run_name(Params(evolve=EvolveParams(iterations=iterations, samples=[*range(1, iterations + 1)])))

    assert name(3) == "M3-K1.2.3-s0"
    assert name(200).startswith("M200-K1.2.3.4.5")
    assert name(200).endswith("...-s0")
    assert len(name(200)) < 120
