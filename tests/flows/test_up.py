"""`agentevol up` with real processes: runs through deployments, kills, retries and cancelling, and nothing left after `down`.

The tests share one server and one worker, which the last of them takes down.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
import pytest

from flows.up.state import FLOW_RUN_VARIABLE, Record, mlflow_ui_url
from tests import ROOT
from tests.flows.deployed import make_deployed_project
from tests.flows.preloaded import TINY, PreloadedProcess
from tests.flows.test_resume import digests
from tests.flows.tiny import make_project
from tests.processes import command_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("up")]
TIMEOUT = 300  # seconds, for a busy machine
ONE_EPOCH = ["finetune.epochs=1"]


class Site:
    """A project folder, and commands in it as a user gives them."""

    def __init__(self, project: Path, preloaded: PreloadedProcess) -> None:
        self.project, self.preloaded = project, preloaded
        self.ports = [free_port(), free_port()]
        left_out = ("PREFECT_", "DVC_", "MLFLOW_", "AGENTEVOL_")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        self.environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PREFECT_WORKER_QUERY_SECONDS": "1"}
        self.record = Record(project / ".prefect")

    def agentevol(self, *arguments: str, folder: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """In a new process, because Prefect's settings change while these commands run."""
        return self._run([sys.executable, "-m", TINY, *arguments], folder or self.project, more)

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.agentevol("up", "--port", str(self.ports[0]), "--ui-port", str(self.ports[1]))

    def prefect(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(self.preloaded.command("prefect", *arguments), self.project, {})

    def start(self, deployment: str, **parameters: object) -> str:
        """Schedule a run as Prefect's pages do; returns its id."""
        found = self.api(f"deployments/name/{deployment}")
        request = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.api(f"deployments/{found['id']}/create_flow_run", request)["id"])

    def retry(self, run: str) -> None:
        """What `prefect flow-run retry` asks of the server."""
        self.api(f"flow_runs/{run}/set_state", {"state": {"type": "SCHEDULED"}, "force": True})

    def state(self, run: str) -> str:
        try:
            return str(self.api(f"flow_runs/{run}")["state"]["name"])
        except TimeoutError:
            return "unknown"

    def wait_for(self, run: str, *names: str) -> None:
        until(lambda: self.state(run) in names, lambda: f"{run} is {self.state(run)}, not {names}; {self.log()}")

    def api(self, path: str, body: object = None) -> dict:  # type: ignore[type-arg]
        import urllib.request

        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports[0]}/api/{path}", data=data, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            found: dict = json.load(response)  # type: ignore[type-arg]
        return found

    def hold(self) -> None:
        (self.project / "held").unlink(missing_ok=True)
        (self.project / "hold").touch()

    def wait_until_held(self) -> None:
        until((self.project / "held").exists, self.log)

    def release(self) -> None:
        (self.project / "hold").unlink(missing_ok=True)

    def processes(self, run: str) -> list[psutil.Process]:
        return [process for process in self.record.processes() if environment(process).get(FLOW_RUN_VARIABLE) == run]

    def log(self) -> str:
        return (self.record.folder / "worker.log").read_text()[-3000:]

    def _run(self, command: list[str], folder: Path, more: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=folder, env={**self.environment, **more}, capture_output=True, text=True, timeout=TIMEOUT)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, preloaded: PreloadedProcess) -> Iterator[Site]:
    site = Site(make_deployed_project(tmp_path_factory.mktemp("up"), evolve={"iterations": 1}), preloaded)
    try:
        done = site.up()
        assert done.returncode == 0, done.stderr
        assert "/deployments" in done.stdout
        yield site
    finally:
        site.agentevol("down")


def test_commands_in_the_folder_find_the_server_and_wrong_parameters_are_rejected(site: Site) -> None:
    assert site.agentevol("status").returncode == 0
    refused = site.prefect("deployment", "run", "evolve/full", "-p", "samples=0")
    assert refused.returncode != 0
    assert "minimum of 1" in refused.stdout + refused.stderr
    taken = site.agentevol("up", "--port", "1")
    assert taken.returncode == 1
    assert len(taken.stderr.strip().splitlines()) == 1
    assert f":{site.ports[0]}" in taken.stderr


def test_a_port_in_use_is_reported_in_one_line(site: Site, tmp_path: Path) -> None:
    other = make_project(tmp_path / "other")
    done = site.agentevol("up", "--port", str(site.ports[0]), folder=other)
    assert done.returncode == 1
    assert done.stderr.startswith(f"agentevol: port {site.ports[0]} ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not Record(other / ".prefect").processes()


def test_a_run_killed_alone_and_then_with_its_worker_ends_like_an_undisturbed_run(site: Site, finished_run: Path) -> None:
    site.hold()
    run = site.start("evolve/full")
    site.wait_until_held()
    [flow] = site.record.flow_runs()
    flow.kill()
    site.wait_for(run, "Crashed")

    site.hold()
    assert site.prefect("flow-run", "retry", run).returncode == 0
    site.wait_until_held()
    worker = site.record.services()["worker"].process()
    assert worker is not None
    for process in (worker, *site.record.flow_runs()):
        process.kill()
    until(lambda: not alive(worker))
    assert site.agentevol("status").returncode == 1
    assert site.state(run) == "Running"
    site.release()
    done = site.up()
    assert done.returncode == 0, done.stderr
    assert "marked as crashed" in done.stdout
    assert site.state(run) == "Crashed"
    site.retry(run)
    site.wait_for(run, "Completed")
    # The undisturbed run has two iterations and so contains this one of one iteration: BC-Base and iteration 1.
    assert digests(site.project).items() <= digests(finished_run).items()
    assert sum(name.startswith("finetune-") for name in digests(site.project)) == 2


def test_a_watched_run_completes_and_shows_its_scores(site: Site) -> None:
    done = site.prefect("deployment", "run", "evolve/full", "-p", "samples=1", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finished successfully" in done.stdout
    run = re.search(r"UUID: (\S+)", done.stdout)
    assert run
    found = site.api("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run[1]]}}})
    artifacts = {one["key"]: one["data"] for one in found}  # type: ignore[index]
    assert len(artifacts) == len(found) == 3, "each of them once"
    table = json.loads(artifacts["scores"])
    assert [row["policy"] for row in table] == ["BC-Base", "Iteration 1"]
    assert "[" in table[0]["pushing"]
    assert "# AgentTraj" in artifacts["gate"]
    assert "passed" in artifacts["gate"]
    assert f"{mlflow_ui_url(site.project / '.prefect')}/#/experiments/" in artifacts["links"]
    check_that_its_episodes_can_be_read(site)


def test_cancelling_leaves_no_child_process(site: Site) -> None:
    site.hold()
    two_workers = ["rollout.num_workers=2", "rollout.chunk_size=20"]  # of at least eight episodes each
    run = site.start("evolve/full", seed=1, overrides=[*two_workers, *ONE_EPOCH])
    site.wait_until_held()
    workers = [process for process in site.processes(run) if "spawn_main" in " ".join(command_of(process))]
    assert len(workers) == 2
    assert site.prefect("flow-run", "cancel", run).returncode == 0
    until(lambda: not site.processes(run), site.log)
    assert not any(alive(process) for process in workers)
    site.release()
    site.wait_for(run, "Cancelled")


def test_a_run_without_heartbeats_is_crashed_by_the_server(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The automation of `up`, with ten seconds instead of ninety, and a run that sends one heartbeat."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.events import Event
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Running

    from flows.up.setup import CRASH_AUTOMATION, crash_automation

    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{site.ports[0]}/api"}), get_client(sync_client=True) as client:
        assert client.read_automations_by_name(CRASH_AUTOMATION)
        run = client.create_flow_run(flow(lambda: None, name="silent"), state=Running())
        client.create_automation(crash_automation(timedelta(seconds=10), str(run.id), f"quick {uuid.uuid4()}"))
        time.sleep(3)  # until the server has loaded it
        # By a request: `emit_event` stays bound to the first server of this process, which may be another test's.
        heartbeat = Event(event="prefect.flow-run.heartbeat", resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"})
        httpx.post(f"http://127.0.0.1:{site.ports[0]}/api/events", json=[heartbeat.model_dump(mode="json")]).raise_for_status()
        until(lambda: site.state(str(run.id)) == "Crashed")


def test_down_leaves_no_process_in_any_state(site: Site) -> None:
    site.hold()
    run = site.start("evolve/full", seed=1, overrides=ONE_EPOCH)  # BC-Base is that of the cancelled run
    site.wait_until_held()
    before = site.record.processes()
    assert len(before) >= 4
    done = site.agentevol("down")
    assert done.returncode == 0, done.stderr
    assert not site.record.processes()
    assert not any(alive(process) for process in before)
    assert not (site.record.folder / "profiles.toml").exists()
    assert site.agentevol("status").returncode == 1
    assert site.agentevol("down").stdout.strip() == "nothing was running"
    assert last_state(site.project / ".prefect" / "prefect.db", run) == "CRASHED"


def check_that_its_episodes_can_be_read(site: Site) -> None:
    done = site.agentevol("view")
    assert done.stdout == "page: runs/views/latest.html\n", done.stderr
    page = (site.project / "runs" / "views" / "latest.html").read_text()
    packed = page.partition('id="data">')[2].partition("<")[0]
    data = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert [tuple(one.values()) for one in data["groups"]] == [
        ("BC-Base", "AgentEval"),
        ("Iteration 1", "AgentEval"),
        ("Iteration 1", "exploring"),
    ]
    assert len(data["episodes"]) == 6 + 6 + 20


def last_state(database: Path, run: str) -> str:
    with sqlite3.connect(database) as connection:
        [found] = connection.execute("select state_type from flow_run where replace(id, '-', '') = ?", (run.replace("-", ""),)).fetchone()
    return str(found)


def until(condition: Callable[[], object], message: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, message()
        time.sleep(0.3)


def environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
