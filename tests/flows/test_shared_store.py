"""What a real run leaves in its store, of every kind of task: another machine gets all of it, and its report keeps it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agentevol.settings.schema import Params
from flows.pipeline import Pipeline
from tasks import paths
from tasks.remote_files import RemoteError
from tasks.shared_store import LINEAGE_FILES
from tasks.store_exchange import RUNS, Remote
from tasks.store_gc import list_location, shared_digests, unreachable


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


def test_a_shared_store_that_cannot_be_used_ends_a_run_before_it_computes_anything(project: Path) -> None:
    with pytest.raises(RemoteError, match=r"^file:///proc/nosuch: could not write agentevol-store"):
        Pipeline(Params.model_validate({"store": {"url": "file:///proc/nosuch"}}))
    assert not list(project.iterdir())


def contents(store: Path) -> dict[str, bytes]:
    return {file.relative_to(store).as_posix(): file.read_bytes() for file in store.rglob("*") if file.is_file()}
