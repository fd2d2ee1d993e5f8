"""A process that is starting is waited for as long as it works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from flows import startup_wait
from flows.startup_wait import StartupWait
from flows.up import services
from flows.up.state import Service, StartupError


def use(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    """The processor time of the process at each extension, which take no time here."""
    values = iter(seconds)
    monkeypatch.setattr(startup_wait, "EXTENSION_SECONDS", 0.0)
    monkeypatch.setattr(startup_wait, "_processor_seconds", lambda _: next(values))


@pytest.mark.parametrize(("used", "extensions"), [([0.2], 0), ([1.0, 1.2], 1), ([1.0, 2.0, 301.0], 2)])
def test_the_wait_goes_on_while_the_process_works(monkeypatch: pytest.MonkeyPatch, used: list[float], extensions: int) -> None:
    use(monkeypatch, *used)
    wait = StartupWait(os.getpid(), 0.0)
    assert [wait.is_over() for _ in used] == [False] * extensions + [True]


def test_a_wait_ends_although_the_process_works(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, 1.0)
    monkeypatch.setattr(startup_wait, "MAX_SECONDS", 0.0)
    assert StartupWait(os.getpid(), 0.0).is_over()


def test_a_process_that_has_ended_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert StartupWait(process.pid, 0.0).is_over()


class Running:
    def poll(self) -> None:
        """It has not ended."""


@pytest.mark.parametrize(("used", "ready"), [([1.0, 2.0, 3.0], True), ([1.0, 1.1], False)])
def test_a_service_of_agentevol_up_may_take_its_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, used: list[float], ready: bool
) -> None:
    use(monkeypatch, *used)
    monkeypatch.setattr(services, "STARTUP_SECONDS", 0.0)
    answers = iter([False, False, False, True])
    service = Service("server", os.getpid(), 0.0, "", "", str(tmp_path / "server.log"))
    starting = services.StartingService(service, cast(Any, Running()), lambda: next(answers))
    if ready:
        starting.wait()
    else:
        with pytest.raises(StartupError, match="server was not ready within 0 s"):
            starting.wait()
