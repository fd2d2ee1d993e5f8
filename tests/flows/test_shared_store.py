"""What a real run leaves in its store, of every kind of task: another machine gets all of it, and its report keeps it."""

from __future__ import annotations

import inspect
import random
import time
from pathlib import Path

import pytest

from agentevol.settings.schema import Params
from flows.evolve import evolve
from flows.pipeline import Pipeline
from tasks import paths
from tasks.remote_files import RemoteError
from tasks.report import report
from tasks.shared_store import LINEAGE_FILES, use_shared_store
from tasks.store_exchange import RUNS, Remote
from tasks.store_gc import list_location, shared_digests, unreachable
from tests.flows.test_resume import digests, modification_times
from tests.servers.s3 import S3Server
from tests.shared import copy_mlflow_database


@pytest.mark.slow
def test_another_machine_fetches_every_result_of_a_run_byte_for_byte(finished_run: Path, project: Path, tmp_path: Path) -> None:
    remote = Remote(f"file://{tmp_path}/shared")
    roots = sorted((finished_run / "runs" / "store").glob("[!.]*/"))
    for root in roots:
        remote.publish(root)
    assert all(remote.fetch(root.name) for root in roots)
    assert len(roots) > 20
    assert contents(paths.store()) == contents(finished_run / "runs" / "store")


@pytest.mark.slow
def test_the_record_of_a_run_keeps_everything_that_the_run_used(finished_run: Path, project: Path, tmp_path: Path) -> None:
    remote = Remote(f"file://{tmp_path}/shared")
    for root in (finished_run / "runs" / "store").glob("[!.]*/"):
        remote.publish(root)
    [report] = (finished_run / "runs").glob("M*")
    for name in LINEAGE_FILES:
        if (report / name).exists():
            remote.files.put(report / name, RUNS, report.name, name)
    results, later = list_location(remote), time.time() + 1
    assert len(unreachable(results, set(), 0, later)) == len(results)
    # The tiny project trains no BC-Large, so its part of AgentTraj-L is in no model. It explores everything: its validation split is empty.
    unused = {"subset_trajectories", "validation_instructions"}
    assert {result.task for result in unreachable(results, shared_digests(remote), 0, later)} <= unused


@pytest.mark.slow
def test_a_store_that_fails_under_a_whole_run_stops_or_delays_it_and_changes_no_result(
    tiny_project: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.remote_files.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("flows.evolve.report", report.fn)  # without a Prefect API, as the other tasks of tiny_project
    copy_mlflow_database(tiny_project)
    url = f"s3://{s3_server.new_bucket()}/agentevol"
    run_evolve()
    undisturbed = digests(tiny_project)
    (tiny_project / "runs").rename(tiny_project / "undisturbed")
    try:
        s3_server.fails = lambda request: request.startswith("PUT") and "/score-" in request  # as often as the run tries
        with pytest.raises(RemoteError, match=rf"^{url}: could not write \S+/score-\S+: Please reduce your request rate\. \(7 tries in"):
            run_evolve(f"store.url={url}")
        finished = modification_times(tiny_project)
        assert any(name.startswith("score-") for name in finished), "a result is finished here before it is copied"
        assert len(finished) < len(undisturbed)

        chance = random.Random(0)
        answers: list[bool] = []

        def fails_often(request: str) -> bool:
            time.sleep(0.01)
            answers.append(chance.random() < 0.2)
            return answers[-1]

        s3_server.fails = fails_often
        run_evolve(f"store.url={url}")
    finally:
        use_shared_store(None)
    assert answers.count(True) > 20
    assert finished.items() <= modification_times(tiny_project).items(), "finished work was repeated"
    assert digests(tiny_project) == undisturbed
    s3_server.fails = lambda request: False
    assert set(Remote(url).read_index()) == set(undisturbed.values())


def run_evolve(*overrides: str) -> None:
    """What `agentevol evolve -S ...` runs: one iteration, and too little training to learn much. Errors are raised as they are."""
    inspect.unwrap(evolve.fn)("params.yaml", iterations=1, overrides=["finetune.epochs=2", *overrides])


def test_a_shared_store_that_cannot_be_used_ends_a_run_before_it_computes_anything(project: Path) -> None:
    with pytest.raises(RemoteError, match=r"^file:///proc/nosuch: could not write agentevol-store"):
        Pipeline(Params.model_validate({"store": {"url": "file:///proc/nosuch"}}))
    assert not list(project.iterdir())


def contents(store: Path) -> dict[str, bytes]:
    return {file.relative_to(store).as_posix(): file.read_bytes() for file in store.rglob("*") if file.is_file()}
