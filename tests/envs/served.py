"""A server of environments in a process of its own, with one that fails on demand (faulty.py), and requests to it."""

from __future__ import annotations

import os
import subprocess
import sys

import httpx

from envs.registry import ENVIRONMENTS, environment_class
from tests import ROOT

PLAIN = sorted(name for name in ENVIRONMENTS if environment_class(name).missing() is None)
"""The environments that can be played with what is installed."""


def start(*arguments: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.envs.faulty", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process, process.stdout.readline().split()[0]


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(20)


def session(url: str, environment: str = "faulty", item_id: str | None = "faulty_0") -> str:
    session_id: str = httpx.post(f"{url}/sessions", json={"environment": environment}, timeout=180).json()["session"]
    if item_id:
        assert httpx.post(f"{url}/sessions/{session_id}/reset", json={"item_id": item_id}, timeout=180).status_code == 200
    return session_id


def step(url: str, session_id: str, **body: object) -> httpx.Response:
    return httpx.post(f"{url}/sessions/{session_id}/step", json=body, timeout=180)
