"""MLflow's pages as `agentevol ui` serves them, in a real browser without network access."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.mlflow_champion import ALIAS, challenge
from tasks.mlflow_store import connect, get_or_create_experiment
from tests import ROOT
from tests.tasks.test_mlflow_champion import ENV_VERSIONS, VALIDATION, policy

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: `apt-get install chromium` brings it")]


@pytest.fixture(scope="module")
def chart_page(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The link that `agentevol ui` prints, with its server up over a copy of a finished run."""
    project = Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("ui") / "project"))
    with pytest.MonkeyPatch.context() as patch:  # the run has no validation split and thus no champion
        patch.chdir(project)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client = connect()
        run = client.create_run(get_or_create_experiment(client, "champions")).info.run_id
        assert challenge(client, run, "a", policy(project, "a", 2), None, VALIDATION, ENV_VERSIONS).champion
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "flows.cli", "ui", "--port", str(port)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DVC_", "MLFLOW_"))}
    server = subprocess.Popen(
        command, cwd=project, env={**inherited, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert server.stdout is not None
        printed = "".join(itertools.takewhile(lambda line: not line.startswith("(ready"), server.stdout))
        link = re.search(r"http://\S+compareRunsMode=CHART", printed)
        assert link, printed
        assert re.search(r"champion of agentevol-24-\w{8}: http://\S+/#/models/agentevol-24-", printed), printed
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(1)
        yield link[0]
    finally:
        server.terminate()  # its child processes end with it
        assert server.wait(timeout=60) == 128 + signal.SIGTERM
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_the_chart_page_shows_the_run_and_its_metrics(chart_page: str, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={tmp_path}", "--window-size=1400,1000"]
    for _ in range(4):  # the browser's virtual time does not wait for a slow server on a busy machine
        command = [CHROMIUM, *flags, "--virtual-time-budget=60000", "--dump-dom", chart_page]
        page = subprocess.run(command, capture_output=True, text=True, timeout=180).stdout
        if "data/trained_on" in page:
            break
    assert "M2-K1-s0" in page
    assert "data/trained_on" in page  # the first section of charts; the others are drawn on scrolling


def test_the_files_of_a_champion_are_uploaded_to_a_server(chart_page: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server accepts no path of another machine as a model's source."""
    (project / "models" / "b").mkdir(parents=True)
    (project / "models" / "b" / "config.json").write_text("{}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", chart_page.partition("/#")[0])
    client = connect()
    run = client.create_run(get_or_create_experiment(client, "champions")).info.run_id
    verdict = challenge(client, run, "b", policy(project, "b", 24), None, VALIDATION, ENV_VERSIONS)
    assert verdict.champion
    champion = client.get_model_version_by_alias(verdict.name, ALIAS)
    assert champion.run_id == run
    assert champion.source.endswith(f"{run}/artifacts/policy")
    assert [file.path for file in client.list_artifacts(run, "policy")] == ["policy/config.json"]
