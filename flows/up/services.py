"""The three processes of `agentevol up`: how each is started, and when it is ready.

Invariant: each has a session of its own, a log file and a health check, listens on 127.0.0.1 only, and stops with `agentevol down`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import psutil

from flows.prefect_database import DatabaseCreation, DatabaseUnavailable, database_variables
from flows.startup_wait import StartupWait
from flows.up import mlflow_ui
from flows.up.state import HOME_VARIABLE, Record, Service, StartupError, loopback, process_tree, responds, terminate

HOST = "127.0.0.1"
POOL = "local"
WORKER = "this-machine"
STARTUP_SECONDS = 300.0  # the first time, Prefect and MLflow create their databases, perhaps on a busy machine
NOT_INHERITED = ("PREFECT_LOGGING_LEVEL", "PREFECT_API_URL", "PREFECT_PROFILE")


class StartingService:
    """A service that has been started and may not be ready yet."""

    def __init__(self, service: Service, process: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> None:
        self.service, self.process, self.is_ready = service, process, is_ready
        self.creation: DatabaseCreation | None = None

    def wait(self) -> None:
        """Return when it is ready. Raises StartupError when it exits first, or stops working before it is ready."""
        wait = StartupWait(self.service.pid, STARTUP_SECONDS)
        while not self.is_ready():
            if self.process.poll() is not None:
                raise StartupError(f"{self.service.name} ended with code {self.process.returncode} while starting; {self._log_tail()}")
            if wait.is_over():
                raise StartupError(f"{self.service.name} was not ready within {wait.elapsed():.0f} s; {self._log_tail()}")
            time.sleep(0.2)
        if self.creation:
            self.creation.finish()

    def _log_tail(self) -> str:
        return f"its log ({self.service.log}) ends: {last_line(Path(self.service.log))}"


def start_server(record: Record, port: int) -> StartingService:
    """Prefect's server with its pages. The port is set by a variable: with --port, the pages would still connect to 4200."""
    check_port(port, "--port")
    home = record.folder.parent
    environment = {"PREFECT_SERVER_API_HOST": HOST, "PREFECT_SERVER_API_PORT": str(port), **database_variables(home)}
    url = f"http://{HOST}:{port}"
    creation = DatabaseCreation(home)
    try:
        creation.begin()
    except DatabaseUnavailable as error:
        raise StartupError(str(error)) from None
    starting = _start(record, "server", ["-m", "prefect", "server", "start"], environment, url, f"{url}/api/health")
    creation.started(starting.service.pid)
    starting.creation = creation
    return starting


def start_mlflow(record: Record, port: int) -> StartingService:
    check_port(port, "--ui-port")
    url = f"http://{HOST}:{port}"
    return _start(record, "mlflow", mlflow_ui.command(port), mlflow_ui.environment(), url, f"{url}/health")


def start_worker(record: Record, api: str) -> StartingService:
    """A process worker. It is ready when the server has received a heartbeat from it."""
    command = ["-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", WORKER]
    starting = _start(record, "worker", command, {"PREFECT_API_URL": api}, api.removesuffix("/api") + f"/work-pools/work-pool/{POOL}", "")
    starting.is_ready = lambda: _has_heartbeat(api, starting.service.started_at)
    return starting


def stop(service: Service) -> None:
    """Stop a service and all of its descendants."""
    process = service.process()
    if process is not None:
        terminate(process_tree(process))


def inherited() -> dict[str, str]:
    """The environment of this process without the variables that are meant for a command in a terminal."""
    return {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}


def check_port(port: int, option: str) -> None:
    """Raises StartupError if the port is not available."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise StartupError(f"port {port} cannot be used ({error.strerror}); `agentevol up {option} N` takes another one") from None


def last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.is_file() else []
    return lines[-1].strip() if lines else "(empty)"


def _start(record: Record, name: str, arguments: Sequence[str], environment: dict[str, str], url: str, health: str) -> StartingService:
    record.folder.mkdir(parents=True, exist_ok=True)
    log = record.folder / f"{name}.log"
    variables = {**inherited(), **environment, HOME_VARIABLE: str(record.folder), "PYTHONUNBUFFERED": "1"}
    if name == "mlflow":
        variables.pop("MLFLOW_TRACKING_URI", None)  # this is the server itself; `environment` names its store
    with log.open("ab") as output:  # appended: why the previous process ended stays readable
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=variables,
        )
    with contextlib.suppress(psutil.Error):
        started_at = psutil.Process(process.pid).create_time()
        return StartingService(Service(name, process.pid, started_at, url, health, str(log)), process, lambda: responds(health))
    raise StartupError(f"{name} ended at once; its log ({log}) ends: {last_line(log)}")


def _has_heartbeat(api: str, since: float) -> bool:
    """Whether the server has received a heartbeat of the worker since the given time, in seconds since the epoch."""
    request = urllib.request.Request(
        f"{api}/work_pools/{POOL}/workers/filter", data=b"{}", headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with loopback.open(request, timeout=5) as response:
            workers = json.load(response)
    except (OSError, ValueError):
        return False
    return any(
        worker["name"] == WORKER and datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() >= since
        for worker in workers
        if worker.get("last_heartbeat_time")
    )
