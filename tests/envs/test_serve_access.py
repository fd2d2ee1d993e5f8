"""Access to the server: tokens, limits on sessions, and the shutdown."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from envs import make
from envs.registry import environment_class
from envs.server.run import CannotStart, run
from envs.server.sessions import Limits
from tests import ROOT
from tests.envs.served import session, start, step, stop

LIMITS = Limits(max_sessions=1, idle_seconds=1, step_seconds=1)


@pytest.mark.slow
def test_the_limit_on_sessions_and_idle_sessions() -> None:
    process, url = start("3", "2", "30")
    try:
        session(url), session(url)
        full = httpx.post(f"{url}/sessions", json={"environment": "faulty"})
        assert (full.status_code, full.headers["retry-after"], "all 2 sessions are taken" in full.text) == (503, "5", True)
        deadline = time.monotonic() + 20
        while httpx.get(f"{url}/health").json()["sessions"] and time.monotonic() < deadline:
            time.sleep(0.2)
        assert httpx.post(f"{url}/sessions", json={"environment": "faulty"}).status_code == 201
    finally:
        stop(process)


def test_the_token_is_required_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    process, url = start("1800", "2", "60", AGENTEVOL_TOKEN="secret")
    try:
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/environments").status_code == 401
        assert httpx.get(f"{url}/environments", headers={"Authorization": "Bearer wrong"}).status_code == 401
        monkeypatch.setenv("AGENTEVOL_TOKEN", "secret")
        env = make("maze", server=url)
        assert env.reset(options={"item_id": environment_class("maze").instructions("eval")[0].item_id})[0]
        env.close()
    finally:
        stop(process)


def test_serving_other_machines_requires_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTEVOL_TOKEN", raising=False)
    with pytest.raises(CannotStart, match="AGENTEVOL_TOKEN"):
        run("0.0.0.0", 0, [], LIMITS)
    with pytest.raises(CannotStart, match="no such environment: atlantis"):
        run("127.0.0.1", 0, ["atlantis"], LIMITS)


def test_the_printed_address_can_be_opened_also_with_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    command = [sys.executable, "-m", "flows.cli", "serve", "--host", "::1", "--port", "0", "--environment", "maze"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        url = process.stdout.readline().split()[0]
        try:
            assert httpx.get(f"{url}/health", timeout=60).status_code == 200
        finally:
            process.terminate()


def test_the_token_may_be_in_a_file(tmp_path: Path) -> None:
    for text, message in (("", "is empty"), (None, "cannot be read")):
        file = tmp_path / str(text is None)
        if text is not None:
            file.write_text(text)
        with pytest.raises(CannotStart, match=message):
            run("0.0.0.0", 0, [], LIMITS, token_file=file)
    (tmp_path / "token").write_text("secret\n")
    command = [
        sys.executable,
        "-c",
        "from flows.cli.main import main; main()",
        "serve",
        "--port",
        "0",
        "--token-file",
        str(tmp_path / "token"),
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    url = process.stdout.readline().split()[0]
    try:
        assert httpx.get(f"{url}/environments").status_code == 401
        assert httpx.get(f"{url}/environments", headers={"Authorization": "Bearer secret"}, timeout=60).status_code == 200
    finally:
        stop(process)


def test_a_running_request_is_answered_before_the_server_ends() -> None:
    process, url = start("1800", "10", "1")
    session_id = session(url)
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(step, url, session_id, action="hang")
        time.sleep(0.4)
        process.send_signal(signal.SIGTERM)
        assert reply.result(15).status_code == 504
    assert process.wait(20) is not None
