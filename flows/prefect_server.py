"""The Prefect API that a command starts for itself: a child process with the database of flows/prefect_database.py.

Invariant: the child never outlives its parent, however the parent ends (kill -9 included): it reads a pipe that only the parent holds open
and exits when the pipe closes. On a new database, one child starts at a time (flows/prefect_database.py). Its output goes to
`.prefect/server.log`. If the user has set PREFECT_API_URL, or `agentevol up` is running, that server is used and nothing is
started.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

from agentevol.parent_process import end_with_parent
from agentevol.python_process import module_command, module_environment
from flows.prefect_database import DatabaseCreation, DatabaseUnavailable, database_variables
from flows.startup_wait import StartupWait
from flows.up.state import api_url, loopback

STARTUP_SECONDS = 120.0
STOP_SECONDS = 5.0


class ServerStartupError(RuntimeError):
    """The API did not start; the message says why, or contains the end of its log."""


class LocalServer:
    """A starting child process; `wait()` returns once it answers. Imports between the two cost no extra time."""

    def __init__(self, home: Path) -> None:
        """Raises ServerStartupError if the database that the user names cannot be used."""
        self.creation = DatabaseCreation(home)
        try:
            self.creation.begin()
        except DatabaseUnavailable as error:
            raise ServerStartupError(str(error)) from None
        self.log = home / "server.log"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*module_command("flows.prefect_server"), str(self.port)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C goes to the flow; the child exits when its pipe closes
                env={
                    **module_environment(),
                    **database_variables(home),
                    "PREFECT_HOME": str(home),
                    "PREFECT_UI_ENABLED": "0",
                    "PREFECT__SERVER_EPHEMERAL": "1",
                    "PREFECT__SERVER_FINAL": "1",
                },
            )
        self.creation.started(self.process.pid)

    def wait(self) -> None:
        """Return when the API answers. Raises ServerStartupError when the child ends first, or stops working before it answers."""
        wait = StartupWait(self.process.pid, STARTUP_SECONDS)
        while True:
            if self.process.poll() is not None:
                raise ServerStartupError(f"Prefect's API ended with code {self.process.returncode} while starting; {self._log_tail()}")
            with contextlib.suppress(urllib.error.URLError, OSError), loopback.open(f"{self.url}/health", timeout=5) as response:
                if response.status == 200:
                    self.creation.finish()
                    return
            time.sleep(0.1)
            if wait.is_over():
                raise ServerStartupError(f"Prefect's API did not answer at {self.url} within {wait.elapsed():.0f} s; {self._log_tail()}")

    def stop(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.creation.release()

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"its log ({self.log}) ends: {lines[-1] if lines else '(empty)'}; `agentevol doctor` checks the installation"


@contextlib.contextmanager
def prefect_api(home: Path) -> Iterator[LocalServer | None]:
    """Set PREFECT_API_URL for the duration. Enter it before Prefect is imported. Yields None if another server is used."""
    if os.environ.get("PREFECT_API_URL"):
        yield None
        return
    if url := api_url(home):
        os.environ["PREFECT_API_URL"] = url
        try:
            yield None
        finally:
            del os.environ["PREFECT_API_URL"]
        return
    server = LocalServer(home)
    os.environ["PREFECT_API_URL"] = server.url
    try:
        yield server
    finally:
        del os.environ["PREFECT_API_URL"]
        server.stop()


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """For heavy imports: they create a million lasting objects, and scanning those for garbage would take 10 to 20 % of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _serve(port: int) -> None:
    end_with_parent(grace_seconds=STOP_SECONDS - 1)
    with gc_paused():
        import prefect.server.api.server  # noqa: F401
        import uvicorn

    uvicorn.run("prefect.server.api.server:create_app", factory=True, host="127.0.0.1", port=port, log_level="error", lifespan="on")


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
