"""Who may use the server, how many, for how long, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from envs import make
from envs.registry import environment_class
from envs.server.run import Refused, run
from tests import ROOT
from tests.envs.served import session, start, step, stop


def test_the_cap_and_idle_sessions() -> None:
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


def test_a_token_is_asked_for_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    process, url = start("1800", "2", "60", AGENTEVOL_TOKEN="secret")
    try:
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/environments").status_code == 401
        assert httpx.get(f"{url}/environments", headers={"Authorization": "Bearer wrong"}).status_code == 401
        monkeypatch.setenv("AGENTEVOL_TOKEN", "secret")
        there = make("maze", server=url)
        assert there.reset(options={"item_id": environment_class("maze").instructions("eval")[0].item_id})[0]
        there.close()
    finally:
        stop(process)


def test_beyond_this_machine_nothing_is_served_without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTEVOL_TOKEN", raising=False)
    with pytest.raises(Refused, match="AGENTEVOL_TOKEN"):
        run("0.0.0.0", 0, [], cap=1, idle=1, step=1)
    with pytest.raises(Refused, match="no such environment: atlantis"):
        run("127.0.0.1", 0, ["atlantis"], cap=1, idle=1, step=1)


def test_the_token_may_be_in_a_file(tmp_path: Path) -> None:
    for text, told in (("", "is empty"), (None, "cannot be read")):
        file = tmp_path / str(text is None)
        if text is not None:
            file.write_text(text)
        with pytest.raises(Refused, match=told):
            run("0.0.0.0", 0, [], cap=1, idle=1, step=1, token_file=file)
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
    key = session(url)
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(step, url, key, action="hang")
        time.sleep(0.4)
        process.send_signal(signal.SIGTERM)
        assert reply.result(15).status_code == 504
    assert process.wait(20) is not None
