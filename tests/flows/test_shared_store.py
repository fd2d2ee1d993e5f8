"""A run on a machine whose shared store has everything: nothing is computed, and the report is the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tasks.store_exchange import Remote
from tests.flows.conftest import Command
from tests.flows.tiny import make_project
from tests.shared import copy_mlflow_database

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("runs")]


def test_a_second_machine_fetches_a_whole_run(finished_run: Path, agentevol: Command, tmp_path: Path) -> None:
    remote = Remote(f"file://{tmp_path}/shared")
    store = finished_run / "runs" / "store"
    for root in sorted(store.iterdir()):
        remote.publish(root)
    project = copy_mlflow_database(make_project(tmp_path / "second"))
    shutil.copytree(finished_run / "data", project / "data")
    done = agentevol(project, "evolve", "-S", f"store.url={remote.url}")
    assert done.returncode == 0, done.stderr
    # A manifest says how long the work took: equal bytes are copies.
    assert manifests(project / "runs" / "store") == manifests(store)
    [report] = (finished_run / "runs").glob("M*")
    assert (project / "runs" / report.name / "table.md").read_text() == (report / "table.md").read_text()
    assert remote.files.read("runs", report.name, "run.json") == (report / "run.json").read_bytes()
    assert not [row for row in map(json.loads, manifests(store).values()) if "shared" in json.dumps(row)]


def manifests(store: Path) -> dict[str, str]:
    return {file.parent.name: file.read_text() for file in store.glob("*/manifest.json")}
