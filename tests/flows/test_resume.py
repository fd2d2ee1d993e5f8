"""After kill -9 (exploring, fine-tuning, between tasks), the same command continues, repeats nothing, and ends with the same result."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.flows.conftest import Command
from tests.flows.tiny import make_project
from tests.shared import copy_mlflow_database

PLACES = ("exploring", "fine-tuning", "between")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("runs")]


def manifests(project: Path) -> dict[str, Path]:
    return {path.parent.name: path for path in sorted((project / "runs" / "store").glob("*/manifest.json"))}


def digests(project: Path) -> dict[str, str]:
    """The digest of every finished task's result, by its key."""
    return {name: json.loads(path.read_text())["artifact"]["digest"] for name, path in manifests(project).items()}


def modification_times(project: Path) -> dict[str, int]:
    return {name: path.stat().st_mtime_ns for name, path in manifests(project).items()}


def table(project: Path) -> str:
    """The report without the costs."""
    return (project / "runs" / "latest" / "table.txt").read_text().partition("Costs")[0]


@pytest.fixture(scope="module")
def killed(agentevol: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose run was killed at each place in turn and then continued to the end."""
    project = copy_mlflow_database(make_project(tmp_path_factory.mktemp("killed")))
    finished: dict[str, int] = {}
    for place in PLACES:
        done = agentevol(project, "evolve", own_api=place == PLACES[0], KILL_AT=place)
        assert done.returncode == -signal.SIGKILL, (place, done.stderr)
        now = modification_times(project)
        assert len(now) > len(finished), f"nothing was finished before the kill while {place}"
        assert finished.items() <= now.items(), f"finished work was repeated before the kill while {place}"
        finished = now
    done = agentevol(project, "evolve")
    assert done.returncode == 0, done.stderr
    assert finished.items() <= modification_times(project).items()
    return project


def test_the_results_are_those_of_an_undisturbed_run(finished_run: Path, killed: Path) -> None:
    assert digests(killed) == digests(finished_run)
    assert table(killed) == table(finished_run)


def test_the_random_policy_is_in_the_report(finished_run: Path) -> None:
    assert "AgentEvol (iteration 2) against random: " in table(finished_run)
    assert "| environment | n | random | BC-Base |" in (finished_run / "runs" / "latest" / "table.md").read_text()


def test_no_unfinished_folder_is_left(killed: Path) -> None:
    # Temporary folders carry the process id of the writer: those of a killed process are removed when its task runs again.
    assert not list((killed / "runs" / "store").glob(".*.tmp"))


def test_no_server_is_left(killed: Path, prefect_home: Path) -> None:
    deadline = time.monotonic() + 15
    while servers(prefect_home) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not servers(prefect_home)


def servers(home: Path) -> list[int]:
    """The processes that belong to a Prefect home."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"PREFECT_HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_mlflow_has_one_flat_run_and_no_duplicate_points(killed: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{killed / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("agentevol")
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.run_name for run in runs] == ["M2-K1-s0"]
    run = runs[0]
    assert run.info.status == "FINISHED"
    assert "mlflow.parentRunId" not in run.data.tags
    for name in run.data.metrics:
        steps = Counter(point.step for point in client.get_metric_history(run.info.run_id, name))
        assert set(steps.values()) == {1}, f"{name} has duplicate points"
    history = client.get_metric_history(run.info.run_id, "success/overall")
    assert sorted(point.step for point in history) == [0, 1, 2]
    assert run.data.params["M"] == "2"
    assert 0 <= run.data.metrics["success_random/overall"] <= 1
    inputs = {entry.dataset.name for entry in run.inputs.dataset_inputs}
    assert {"agenttraj", "agenteval", "explore", "explored-1", "trained-on-2"} <= inputs
    assert {file.path for file in client.list_artifacts(run.info.run_id, "report")} >= {"report/curve.png", "report/table.md"}


def test_sampled_episodes_can_be_read_as_conversations(killed: Path) -> None:
    import mlflow
    from mlflow import MlflowClient

    uri = f"sqlite:///{killed / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    experiment = MlflowClient(uri).get_experiment_by_name("agentevol")
    traces = mlflow.search_traces(locations=[experiment.experiment_id], return_type="list", max_results=200)
    policies = Counter(trace.info.tags["policy"] for trace in traces)
    assert policies == {"bc-base": 6, "iteration-1": 6, "iteration-2": 6}
    first = min(traces[0].data.spans, key=lambda span: span.start_time_ns)
    assert first.inputs["messages"][0]["content"].startswith("Push.")


def test_a_second_run_reuses_everything(agentevol: Command, killed: Path) -> None:
    before, latest = modification_times(killed), (killed / "runs" / "latest" / "table.txt").read_text()
    done = agentevol(killed, "evolve")
    assert done.returncode == 0, done.stderr
    assert modification_times(killed) == before
    assert latest in done.stdout
    assert "Traceback" not in done.stderr
