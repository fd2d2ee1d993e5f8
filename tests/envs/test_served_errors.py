"""A program behind an environment dies: its episode ends with the cause, other sessions continue, and a reset begins a new episode."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import psutil
import pytest

from envs.sciworld import jvm
from envs.webarena import browser
from tests.envs.served import session, start, step, stop

needs_java = pytest.mark.skipif(jvm.missing() is not None, reason=str(jvm.missing()))
needs_browser = pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[psutil.Process, str]]:
    process, url = start("1800", "20", "150")
    yield psutil.Process(process.pid), url
    stop(process)


def kill(server: psutil.Process, word: str) -> None:
    """Kill the child processes of the server whose name contains `word`."""
    children = [child for child in server.children(recursive=True) if word in child.name()]
    assert children, [child.name() for child in server.children(recursive=True)]
    for child in children:
        child.kill()
    psutil.wait_procs(children, timeout=10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "program", "action", "cause"),
    [
        pytest.param("sciworld", "java", "look around", "JvmDied", marks=needs_java),
        pytest.param("webarena", "chrom", "scroll [down]", "BrowserDied", marks=needs_browser),
        pytest.param("webarena", "node", "scroll [down]", "BrowserDied", marks=needs_browser),
    ],
)
def test_a_java_machine_or_browser_that_dies(server: tuple[psutil.Process, str], name: str, program: str, action: str, cause: str) -> None:
    process, url = server
    broken, other, healthy = session(url, name, f"{name}_0"), session(url, name, f"{name}_1"), session(url)
    first = httpx.get(f"{url}/sessions/{broken}", timeout=60).json()["observation"]
    assert step(url, broken, action=action).status_code == 200
    kill(process, program)
    reply = step(url, broken, action=action)
    assert (reply.status_code, reply.json()["kind"]) == (500, "fault")
    assert cause in reply.json()["error"]
    assert cause in step(url, other, action=action).json()["error"]
    assert step(url, healthy, action="x").status_code == 200
    response = httpx.post(f"{url}/sessions/{broken}/reset", json={"item_id": f"{name}_0"}, timeout=180)
    assert response.json()["observation"] == first
    assert step(url, broken, action=action).status_code == 200
    for key in (broken, other):
        assert httpx.delete(f"{url}/sessions/{key}").status_code == 204
