"""A child ends with its parent: killed or not, at once or after a grace period."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import ROOT

CHILD = """
import os, signal, sys, time
from agentevol.parent_process import end_with_parent
{setup}
end_with_parent({grace})
print(os.getpid(), flush=True)
time.sleep(600)
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "child.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip(), flush=True)
time.sleep(600)
"""
ON_SIGTERM = {
    "default": "",
    "ignored": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "handled": "signal.signal(signal.SIGTERM, lambda *_: (open('cleaned-up', 'w').close(), sys.exit(0)))",
}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(("grace", "on_sigterm"), [(0.0, "ignored"), (1.0, "ignored"), (60.0, "default"), (60.0, "handled")])
@pytest.mark.slow
def test_a_child_does_not_outlive_a_killed_parent(grace: float, on_sigterm: str, tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(CHILD.format(setup=ON_SIGTERM[on_sigterm], grace=grace))
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    child.wait(timeout=30)
    assert not child.is_running()
    assert (tmp_path / "cleaned-up").exists() == (on_sigterm == "handled")


@pytest.mark.parametrize(("grace", "code"), [(0.0, 1), (60.0, -signal.SIGTERM)])
def test_a_child_ends_when_its_parent_closes_the_pipe(grace: float, code: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD.format(setup="", grace=grace)]
    with subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert int(child.stdout.readline()) == child.pid
        child.stdin.close()
        assert child.wait(timeout=30) == code
