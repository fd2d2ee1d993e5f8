"""What the tests of tasks share: tasks without Prefect, and machines that share a store, each a project folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.artifact import Artifact
from tasks.cached_task import CachedTask
from tests.servers.s3 import S3Server
from tests.tasks.sharing import Machine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr("tasks.remote_files.FIRST_PAUSE", 0.001)

    from tasks.shared_store import use_shared_store

    def continue_on(name: str, url: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        use_shared_store(url)

    yield continue_on
    use_shared_store(None)


@pytest.fixture
def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are computed without a task run of Prefect."""
    monkeypatch.setattr(CachedTask, "__call__", lambda self, *, label="", **inputs: Artifact(**self.compute(**inputs)))


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty shared store."""
    if request.param == "file":
        return (tmp_path / "shared folder").as_uri().replace("%20", " ")
    server: S3Server = request.getfixturevalue("s3_server")
    return f"s3://{server.new_bucket()}/agentevol"


@pytest.fixture
def folder_url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/shared"
