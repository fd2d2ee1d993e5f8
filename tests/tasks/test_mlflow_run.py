"""MLflow is told everything once, and another world is another run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from agentevol.data.dataset import write_dataset
from agentevol.data.trajectory import Message, Trajectory
from agentevol.settings.schema import Params
from tasks.artifact import Artifact
from tasks.git_commit import commit
from tasks.mlflow_run import Tracker, twice
from tasks.mlflow_store import connect
from tasks.policy_record import PolicyRecord
from tasks.run_identity import groups, run_key
from tests import ROOT

BASE = Artifact(kind="model", path="models/base", digest="base")
MADE_FROM = {"sets": {"agenteval": "a"}, "env_versions": {"maze": 1}, "tasks": {"play": "1"}, "precision": "float32"}
EPISODES = [
    Trajectory(
        f"maze_{number}", "maze", "maze", "eval", "bc-large", "h", 0, 0,
        [Message("user", "?"), Message("assistant", "left", True), Message("user", "no")], 0.0, False, 1, "truncated", error=cause,
    )
    for number, cause in enumerate([None, "the context of 9 tokens is full", None])
]  # fmt: skip


def test_what_decides_a_figure_decides_the_run() -> None:
    key = run_key(Params(), BASE, MADE_FROM)
    assert key == run_key(Params(), BASE, dict(reversed(MADE_FROM.items())))
    for name in MADE_FROM:
        assert run_key(Params(), BASE, MADE_FROM | {name: {"agenteval": "b"}}) != key
    assert run_key(Params(seed=1), BASE, MADE_FROM) != key
    assert run_key(Params(), BASE.model_copy(update={"digest": "other"}), MADE_FROM) != key


def test_runs_of_a_group_differ_in_m_and_the_seed_alone() -> None:
    one = groups(Params())["evo.setting"]
    more = Params().evolve.model_copy(update={"iterations": 9})
    assert groups(Params(seed=3, evolve=more))["evo.setting"] == one
    for other in (Params(finetune={"max_steps": 300}), Params(evolve={"samples": 3}), Params(explore={"temperature": 1.0})):
        assert groups(other)["evo.setting"] != one


def test_a_data_set_that_two_runs_record_at_once_is_recorded() -> None:
    """As seen: UNIQUE constraint failed: datasets.experiment_id, datasets.name, datasets.digest."""
    there: list[str] = []

    def record() -> None:
        there.append("it")
        if len(there) == 1:  # the other run's
            raise MlflowException("UNIQUE constraint failed")

    twice(record)
    assert len(there) == 2


@pytest.mark.slow
def test_a_policy_told_again_after_a_kill_is_there_once(project: Path) -> None:
    """In a process of its own, as every run is."""
    command = [sys.executable, "-m", "tests.tasks.test_mlflow_run"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]


def tell_twice(project: Path) -> None:
    write_dataset(project / "played", EPISODES, {})
    played = {"seconds": 2.0, "episodes": 3, "tokens": 30, "cut": {"context": 1, "loop": 2}, "errors": 0}
    learnt = {"seconds": 5.0, "tokens": 70, "trained_tokens": 60, "steps": 4, "too_long": ["maze_8"], "loss": [[1, 2.0]]}
    scores = dict.fromkeys(("success", "success_low", "success_high", "reward", "reward_low", "reward_high"), 0.5) | {"errors": 0, "n": 3}
    done = PolicyRecord(
        "bc-large", 0,
        BASE.model_copy(update={"facts": learnt}),
        Artifact(kind="trajectories", path="learnt", digest="l", counts={"maze": 7}),
        Artifact(kind="trajectories", path="played", digest="p", counts={"maze": 3}, facts=played),
        Artifact(kind="scores", path="scores", digest="s", facts={"overall": scores}),
    )  # fmt: skip
    with Tracker(Params(), BASE, MADE_FROM) as track:
        track.large(done)
        for told in ("traces", "figures"):
            track.client.delete_tag(track.id, f"{told}.bc-large")  # as if it was killed before it was written
    for _ in range(2):
        with Tracker(Params(), BASE, MADE_FROM) as track:
            track.large(done)
    client = connect()
    traces = client.search_traces(locations=[track.experiment], include_spans=False)
    assert sorted(trace.info.tags["mlflow.traceName"] for trace in traces) == ["maze_0", "maze_1", "maze_2"]
    found = client.get_run(track.id).data
    figures = found.metrics
    assert all(len(client.get_metric_history(track.id, name)) == 1 for name in figures)
    assert found.tags["evo.setting"].startswith("K1 initial base reward_weighted ")
    assert found.tags["mlflow.source.git.commit"] == commit()  # what leads back to the code
    expected = {"learn/seconds": 5, "learn/trained_tokens": 60, "evaluate/tokens": 30, "data/too_long": 1, "truncated/context/evaluate": 1}
    assert {name: figures[f"bc_large/{name}"] for name in expected} == expected
    assert done.left_out() == "BC-Large left out: 1 too long to learn from, 1 cut, context (evaluate), 2 cut, loop (evaluate)"


if __name__ == "__main__":
    tell_twice(Path.cwd())
