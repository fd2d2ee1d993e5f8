"""What `agentevol up` has started: the record in `.prefect/up/state.json`, and the processes it names.

Invariant: a process is ours only while it has the id and the time of birth on record, or bears our mark in its environment; so a record
that is out of date (a crash, a restart of the machine) never names another program's process.
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

MARK = "AGENTEVOL_UP"
"""An environment variable that all processes below `up` inherit: the folder that they belong to."""
RUN = "PREFECT__FLOW_RUN_ID"
"""Prefect's own, in the processes of a run: its id."""
STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Service:
    """A process that stays. `born`: when it started, in seconds since the epoch; `url`: where a user finds it."""

    name: str
    pid: int
    born: float
    url: str
    health: str
    log: str

    def process(self) -> psutil.Process | None:
        """The living process, or None."""
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(self.pid)
            if abs(found.create_time() - self.born) < 1 and found.status() != psutil.STATUS_ZOMBIE:
                return found
        return None

    def answers(self, timeout: float = 2) -> bool:
        return self.process() is not None and (not self.health or responds(self.health, timeout))


class Record:
    """The folder `.prefect/up` of a Prefect home."""

    def __init__(self, home: Path) -> None:
        self.folder = Path(home).resolve() / "up"
        self.file = self.folder / "state.json"

    def services(self) -> dict[str, Service]:
        """What is on record, alive or not."""
        try:
            known = json.loads(self.file.read_text(encoding="utf-8"))
            return {one["name"]: Service(**one) for one in known}
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def write(self, services: Sequence[Service]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_suffix(".tmp")
        temporary.write_text(json.dumps([asdict(one) for one in services], indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.file)

    def marked(self) -> list[psutil.Process]:
        """All processes that bear this folder's mark: services, runs, and what those have started."""
        return [process for process, environment in _environments() if environment.get(MARK) == str(self.folder)]

    def runs(self) -> dict[psutil.Process, str]:
        """The processes of flow runs, with the id of the run; not what they have started."""
        found = {process: environment.get(RUN) for process, environment in _environments() if environment.get(MARK) == str(self.folder)}
        ids = {process.pid for process, run in found.items() if run}
        return {process: run for process, run in found.items() if run and _parent(process) not in ids}


def _environments() -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                yield process, process.environ()


def _parent(process: psutil.Process) -> int | None:
    with contextlib.suppress(psutil.Error):
        parent: int = process.ppid()
        return parent
    return None


def api_url(home: Path) -> str | None:
    """The API of the server that is up for this Prefect home; None where none answers."""
    server = Record(home).services().get("server")
    return f"{server.url}/api" if server is not None and server.answers(timeout=10) else None


def pages_url(home: Path) -> str | None:
    """Where MLflow's pages are, while they are up."""
    pages = Record(home).services().get("mlflow")
    return pages.url if pages is not None and pages.process() is not None else None


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that it has started."""
    with contextlib.suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


def end(processes: Sequence[psutil.Process], patience: float = STOP_SECONDS) -> None:
    """End processes: asked first, and after `patience` seconds for sure."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, left = psutil.wait_procs(processes, timeout=patience)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=5)


def responds(url: str, timeout: float = 2) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False
