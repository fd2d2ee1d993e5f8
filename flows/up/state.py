"""The processes of `agentevol up`: the record of them in `.prefect/up/state.json`, and how to find and stop them.

Invariant: a process is ours only if it has the recorded id and start time, or carries our variable in its environment. A record that is out
of date (after a crash or a reboot) therefore never names another program's process.
"""

from __future__ import annotations

import contextlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

PREFECT_PORT, MLFLOW_PORT = 4200, 5000
"""The default ports."""
HOME_VARIABLE = "AGENTEVOL_UP"
"""An environment variable that all processes below `up` inherit: the folder that they belong to."""
FLOW_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
"""Set by Prefect in the processes of a flow run: the id of the run."""
STOP_SECONDS = 15.0
loopback = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs on this machine, whatever proxies the environment names."""


class StartupError(RuntimeError):
    """A process did not start, or cannot; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Service:
    """A long-running process. `started_at`: seconds since the epoch; `url`: its address for the user; `health`: that of its check."""

    name: str
    pid: int
    started_at: float
    url: str
    health: str
    log: str

    def process(self) -> psutil.Process | None:
        """The running process, or None."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started_at) < 1 and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None

    def is_healthy(self, timeout: float = 2) -> bool:
        return self.process() is not None and (not self.health or responds(self.health, timeout))


class Record:
    """The folder `.prefect/up` of a Prefect home."""

    def __init__(self, home: Path) -> None:
        self.folder = Path(home).resolve() / "up"
        self.file = self.folder / "state.json"

    def services(self) -> dict[str, Service]:
        """The recorded services, running or not."""
        try:
            entries = json.loads(self.file.read_text(encoding="utf-8"))
            return {entry["name"]: Service(**entry) for entry in entries}
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def write(self, services: Sequence[Service]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_suffix(".tmp")
        temporary.write_text(json.dumps([asdict(service) for service in services], indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.file)

    def processes(self) -> list[psutil.Process]:
        """All processes that belong to this folder: services, flow runs, and their children."""
        return [process for process, environment in _environments() if environment.get(HOME_VARIABLE) == str(self.folder)]

    def flow_runs(self) -> dict[psutil.Process, str]:
        """The main processes of flow runs, each with the id of its run; not their children."""
        run_ids = {
            process: environment.get(FLOW_RUN_VARIABLE)
            for process, environment in _environments()
            if environment.get(HOME_VARIABLE) == str(self.folder)
        }
        pids = {process.pid for process, run in run_ids.items() if run}
        return {process: run for process, run in run_ids.items() if run and _parent(process) not in pids}


def api_url(home: Path) -> str | None:
    """The API of the running server of this Prefect home; None if none answers."""
    server = Record(home).services().get("server")
    return f"{server.url}/api" if server is not None and server.is_healthy(timeout=10) else None


def mlflow_ui_url(home: Path) -> str | None:
    """The URL of MLflow's pages; None if they are not running."""
    service = Record(home).services().get("mlflow")
    return service.url if service is not None and service.process() is not None else None


def process_tree(process: psutil.Process) -> list[psutil.Process]:
    """A process and all of its descendants."""
    with contextlib.suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


def terminate(processes: Sequence[psutil.Process], timeout: float = STOP_SECONDS) -> None:
    """Terminate processes; kill those that are still running after `timeout` seconds."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=timeout)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def responds(url: str, timeout: float = 2) -> bool:
    try:
        with loopback.open(url, timeout=timeout) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _environments() -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    """The environment variables of all other processes that this user may read."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                yield process, process.environ()


def _parent(process: psutil.Process) -> int | None:
    with contextlib.suppress(psutil.Error):
        parent: int = process.ppid()
        return parent
    return None
