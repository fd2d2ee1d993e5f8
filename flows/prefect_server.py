"""The Prefect API that a command brings along: a child process over `.prefect/prefect.db`, so that no server is started by hand.

Invariant: the child never outlives its parent, however that ends (kill -9 too): it reads a pipe that only the parent holds open and stops
at its end. On a new database one starts at a time, since two migrations of the same tables break each other. What it prints goes to
`.prefect/server.log`. A PREFECT_API_URL that the user has set is used instead, or else the server of `agentevol up` where it is up; then
nothing is started.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from flows.up.state import api_url

STARTUP_SECONDS = 120.0
STOP_SECONDS = 5.0


class ServerFailed(RuntimeError):
    """The API did not come up; the message has the end of its log."""


class LocalServer:
    """A child that is starting; `wait()` returns once it answers. Imports made between the two cost no extra time."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.made = home / f"made-by-prefect-{version('prefect')}"
        self.first = FileLock(home / "first.lock")
        if not self.made.exists():
            self.first.acquire()
        self.log = home / "server.log"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.prefect_server", str(self.port)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the flow; the child ends when its pipe does
                env={**os.environ, "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"},
            )

    def wait(self) -> None:
        """Return when the API answers. Raises ServerFailed when the child ends first or does not answer in STARTUP_SECONDS."""
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerFailed(f"Prefect's API ended with code {self.process.returncode} while starting; {self._last_words()}")
            with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                if answer.status == 200:
                    self.made.touch()
                    self.first.release()
                    return
            time.sleep(0.1)
        raise ServerFailed(f"Prefect's API did not answer at {self.url} within {STARTUP_SECONDS:.0f} s; {self._last_words()}")

    def stop(self) -> None:
        self.first.release()
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"its log ({self.log}) ends: {lines[-1] if lines else '(empty)'}; `agentevol doctor` checks the installation"


@contextlib.contextmanager
def prefect_api(home: Path) -> Iterator[LocalServer | None]:
    """Have PREFECT_API_URL set for the duration. Must be entered before Prefect is imported; yields None where the user has set one."""
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
def many_imports() -> Iterator[None]:
    """For imports that make a million objects which stay: looking for garbage among them meanwhile takes a tenth to a fifth of the time."""
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


def _end_with_parent(grace: float = STOP_SECONDS - 1) -> None:
    """Block until the parent's end of the pipe is closed, then end this process: politely, and after `grace` seconds surely."""
    while sys.stdin.buffer.read(4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os._exit(0)


def _serve(port: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with many_imports():
        import prefect.server.api.server  # noqa: F401
        import uvicorn

    uvicorn.run("prefect.server.api.server:create_app", factory=True, host="127.0.0.1", port=port, log_level="error", lifespan="on")


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
