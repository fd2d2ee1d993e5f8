"""The three processes of `agentevol up`: how each is started, and when it counts as up.

Invariant: each has a session of its own, a log file and a health check, listens on 127.0.0.1 alone, and ends with `agentevol down`.
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
from pathlib import Path

import psutil

from flows.up.state import MARK, Record, Service, end, family, responds

HOST = "127.0.0.1"
POOL = "local"
WORKER = "this-machine"
STARTUP_SECONDS = 300.0  # the first time Prefect and MLflow make their databases, on a busy machine
NOT_INHERITED = ("PREFECT_LOGGING_LEVEL", "PREFECT_API_URL", "PREFECT_PROFILE")


class UpFailed(RuntimeError):
    """Something did not come up, or cannot; the message is for the user."""


class Starting:
    """A service that has been started and may not answer yet."""

    def __init__(self, service: Service, process: subprocess.Popen[bytes], healthy: Callable[[], bool]) -> None:
        self.service, self.process, self.healthy = service, process, healthy

    def wait(self) -> None:
        """Return when it is up. Raises UpFailed when it ends first or takes too long."""
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise UpFailed(f"{self.service.name} ended with code {self.process.returncode} while starting; {self._last_words()}")
            if self.healthy():
                return
            time.sleep(0.2)
        raise UpFailed(f"{self.service.name} was not ready within {STARTUP_SECONDS:.0f} s; {self._last_words()}")

    def _last_words(self) -> str:
        return f"its log ({self.service.log}) ends: {last_line(Path(self.service.log))}"


def start_server(record: Record, port: int) -> Starting:
    """Prefect's server with its pages. The port goes by a variable: with --port the pages would go on talking to 4200."""
    free_port(port, "--port")
    environment = {"PREFECT_SERVER_API_HOST": HOST, "PREFECT_SERVER_API_PORT": str(port)}
    url = f"http://{HOST}:{port}"
    return _start(record, "server", ["-m", "prefect", "server", "start"], environment, url, f"{url}/api/health")


def start_mlflow(record: Record, port: int) -> Starting:
    from flows.up import mlflow_ui

    free_port(port, "--ui-port")
    url = f"http://{HOST}:{port}"
    return _start(record, "mlflow", mlflow_ui.command(port), mlflow_ui.environment(), url, f"{url}/health")


def start_worker(record: Record, api: str) -> Starting:
    """A process worker. It is up when the server has had a sign of life from it."""
    command = ["-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", WORKER]
    starting = _start(record, "worker", command, {"PREFECT_API_URL": api}, api.removesuffix("/api") + f"/work-pools/work-pool/{POOL}", "")
    starting.healthy = lambda: _seen(api, starting.service.born)
    return starting


def stop(service: Service) -> None:
    """End a service and all that it has started in its session."""
    process = service.process()
    if process is not None:
        end(family(process))


def inherited() -> dict[str, str]:
    """This process's environment without what holds for a command in a terminal only."""
    return {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}


def free_port(port: int, option: str) -> None:
    """Raises UpFailed where the port cannot be had."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UpFailed(f"port {port} cannot be used ({error.strerror}); `agentevol up {option} N` takes another one") from None


def last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.is_file() else []
    return lines[-1].strip() if lines else "(empty)"


def _start(record: Record, name: str, arguments: Sequence[str], environment: dict[str, str], url: str, health: str) -> Starting:
    record.folder.mkdir(parents=True, exist_ok=True)
    log = record.folder / f"{name}.log"
    everything = {**inherited(), **environment, MARK: str(record.folder), "PYTHONUNBUFFERED": "1"}
    if name == "mlflow":
        everything.pop("MLFLOW_TRACKING_URI", None)  # it is the server, and has its store from `environment`
    with log.open("ab") as output:  # why the last one ended is still there
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=everything,
        )
    with contextlib.suppress(psutil.Error):
        born = psutil.Process(process.pid).create_time()
        return Starting(Service(name, process.pid, born, url, health, str(log)), process, lambda: responds(health))
    raise UpFailed(f"{name} ended at once; its log ({log}) ends: {last_line(log)}")


def _seen(api: str, since: float) -> bool:
    """Whether the worker has given a sign of life since a moment."""
    from datetime import datetime

    request = urllib.request.Request(
        f"{api}/work_pools/{POOL}/workers/filter", data=b"{}", headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            workers = json.load(answer)
    except (OSError, ValueError):
        return False
    return any(
        one["name"] == WORKER and datetime.fromisoformat(one["last_heartbeat_time"]).timestamp() >= since
        for one in workers
        if one.get("last_heartbeat_time")
    )
