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
from typing import Any

import pytest

from tasks.mlflow_champion import ALIAS, challenge
from tasks.mlflow_store import connect, get_or_create_experiment
from tests import ROOT
from tests.tasks.test_mlflow_champion import ENV_VERSIONS, VALIDATION, policy

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: `apt-get install chromium` brings it")]


@pytest.fixture(scope="module")
def links(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The links that `agentevol ui` prints, by title, with its server running over a copy of a finished run."""
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
        links = dict(re.findall(r"^(.+?): (http://\S+)$", printed, re.MULTILINE))
        assert {"Compare M and K", "Learning curves", "Table of all runs", "Policies with their scores"} <= set(links), printed
        assert re.search(r"Champion of agentevol-24-\w{8}: http://\S+/#/models/agentevol-24-", printed), printed
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(1)
        yield links
    finally:
        server.terminate()  # its child processes end with it
        assert server.wait(timeout=60) == 128 + signal.SIGTERM
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        flags = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 2000, "height": 1200})
        page.set_default_timeout(120_000)
        yield page
        browser.close()


def test_the_view_of_m_and_k_draws_parallel_coordinates_first(links: dict[str, str], page: Any) -> None:
    page.goto(links["Compare M and K"])
    page.get_by_text("Parallel Coordinates").wait_for()
    page.locator("svg .dimension, .parcoords svg").first.wait_for()
    assert page.get_by_text("M2-K1-s0").count()
    text = page.inner_text("body")
    assert "does not exist" not in text
    assert "share key is invalid" not in text
    assert text.index("Parallel Coordinates") < text.rindex("exploration"), "sections of other metrics come below"
    page.get_by_role("button", name="Compare M and K").click()  # the menu of views
    assert page.get_by_text("Learning curves").count()


def test_the_view_of_the_curves_has_a_chart_per_environment_with_its_interval(links: dict[str, str], page: Any) -> None:
    page.goto(links["Learning curves"])
    for env in ("overall", "pushing"):
        page.get_by_text(f"success/{env} vs success_low/{env}").first.wait_for()
    page.get_by_text("M2-K1-s0 (success_low/overall)").first.wait_for()


def test_the_table_shows_m_k_the_seed_and_the_scores(links: dict[str, str], page: Any) -> None:
    page.goto(links["Table of all runs"])
    page.locator(".ag-row [col-id='params.`M`']").first.wait_for()
    shown = {key: page.locator(f".ag-row [col-id='params.`{key}`']").first.inner_text() for key in ("M", "K", "seed")}
    assert shown == {"M": "2", "K": "1", "seed": "0"}
    columns = page.evaluate("[...document.querySelectorAll('.ag-header-cell')].map(cell => cell.getAttribute('col-id'))")
    assert columns.index("params.`M`") < columns.index("metrics.`success/overall`")
    assert "metrics.`gain/over_bc_base`" in columns


def test_the_page_of_models_lists_the_policies(links: dict[str, str], page: Any) -> None:
    page.goto(links["Policies with their scores"])
    for name in ("bc-base", "iteration-1", "iteration-2"):
        page.get_by_text(name, exact=True).first.wait_for()


def test_the_files_of_a_champion_are_uploaded_to_a_server(links: dict[str, str], project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server accepts no path of another machine as a model's source."""
    (project / "models" / "b").mkdir(parents=True)
    (project / "models" / "b" / "config.json").write_text("{}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", links["Learning curves"].partition("/#")[0])
    client = connect()
    run = client.create_run(get_or_create_experiment(client, "champions")).info.run_id
    verdict = challenge(client, run, "b", policy(project, "b", 24), None, VALIDATION, ENV_VERSIONS)
    assert verdict.champion
    champion = client.get_model_version_by_alias(verdict.name, ALIAS)
    assert champion.run_id == run
    assert champion.source.endswith(f"{run}/artifacts/policy")
    assert [file.path for file in client.list_artifacts(run, "policy")] == ["policy/config.json"]
