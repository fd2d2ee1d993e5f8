"""Prefect's and MLflow's databases on a real PostgreSQL server, which the tests of this file share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.prefect_database import CONNECTION_URL, DatabaseCreation
from flows.prefect_server import LocalServer, ServerStartupError
from flows.up.state import loopback
from tests import ROOT
from tests.servers import postgres
from tests.servers.postgres import PASSWORD, PostgresServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    if postgres.LACKING:
        pytest.skip(f"not installed: {', '.join(postgres.LACKING)}")
    with postgres.postgres() as started:
        yield started


def test_mlflow_stores_runs_traces_inputs_and_the_champion_there(project: Path, server: PostgresServer) -> None:
    """In a process of its own, as every run is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {"MLFLOW_TRACKING_URI": server.new_database("mlflow"), "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.tasks.test_mlflow_store"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (project / "mlflow.db").exists()


def test_prefect_keeps_what_runs_record_there_and_no_file_has_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: PostgresServer
) -> None:
    address = server.new_database("prefect")
    (tmp_path / "prefect.db.unfinished").touch()  # of a file whose creation was killed: another database
    monkeypatch.setenv(CONNECTION_URL, address.replace("/prefect", "/nosuch"))
    with pytest.raises(ServerStartupError, match=r'cannot be used: .*"nosuch" does not exist'):
        LocalServer(tmp_path)
    monkeypatch.setenv(CONNECTION_URL, address)
    api = LocalServer(tmp_path)
    try:
        api.wait()
        body, headers = json.dumps({"name": "evolve"}).encode(), {"Content-Type": "application/json"}
        loopback.open(urllib.request.Request(f"{api.url}/flows/", body, headers), timeout=30).close()
    finally:
        api.stop()
    assert server.execute("SELECT name FROM flow", "prefect") == [["evolve"]]
    assert not (tmp_path / "prefect.db").exists()
    assert (tmp_path / "prefect.db.unfinished").exists()
    again = DatabaseCreation(tmp_path)
    again.begin()
    assert not again.lock.is_locked  # the tables exist, so no process has to wait for another
    for secret in (PASSWORD, address):
        assert not [file for file in tmp_path.rglob("*") if file.is_file() and secret in file.read_text(errors="replace")]
