"""What the tests of several layers share: the order of the files, one Prefect API per worker process, and no telemetry."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli.command import QUIET_ENVIRONMENT
from tests import ROOT
from tests.flows.preloaded import PreloadedProcess
from tests.servers import s3
from tests.shared import PROGRAMS, SESSION_FOLDER, copy_mlflow_database, copy_prefect_database

for name, value in QUIET_ENVIRONMENT.items():
    os.environ.setdefault(name, value)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # test processes run side by side: two threads each would wait for one another


def pytest_configure(config: pytest.Config) -> None:
    # Prefect's and MLflow's own use of SQLAlchemy; nothing of ours.
    for message in ("Type object <class 'prefect", "The ``noload`` loader strategy"):
        config.addinivalue_line("filterwarnings", f"ignore:{message}")


LONGEST_FILES = (
    "tests/flows/test_up.py",
    "tests/flows/test_sweep.py",
    "tests/flows/test_resume.py",
    "tests/test_dvc.py",
)
"""These start first, so that the worker processes end at about the same time (with --no-loadscope-reorder)."""


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and set(PROGRAMS) & set(map(str, item.callspec.params.values())):
            item.add_marker("slow")
    order = {name: place for place, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))  # stable: the others keep their order


@pytest.fixture(scope="session", autouse=True)
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all worker processes of this session share."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ[SESSION_FOLDER] = str(folder)
    return folder


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Prefect API with a database of its own, for all tests of this process."""
    from flows.prefect_server import LocalServer

    server = LocalServer(copy_prefect_database(tmp_path_factory.mktemp("prefect-api")))
    try:
        server.wait()
        yield server.url
    finally:
        server.stop()


@pytest.fixture(scope="session")
def prefect_api(prefect_url: str) -> Iterator[None]:
    """Flows that run in this process use that API."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_url}):
        yield


@pytest.fixture(scope="session")
def s3_session_server() -> Iterator[s3.S3Server]:
    if s3.LACKING:
        pytest.skip(f"not installed: {', '.join(s3.LACKING)}")
    with s3.s3_server() as server:
        yield server


@pytest.fixture
def s3_server(s3_session_server: s3.S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.S3Server]:
    """An S3 server that the clients of this process find from their environment."""
    for name, value in s3_session_server.variables().items():
        monkeypatch.setenv(name, value)
    s3_session_server.requests.clear()
    yield s3_session_server
    s3_session_server.fails = lambda request: False


@pytest.fixture(scope="session")
def preloaded() -> Iterator[PreloadedProcess]:
    """A process that has imported everything, for commands that need not be new processes."""
    process = PreloadedProcess(ROOT)
    yield process
    process.stop()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the project's root and working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow writes there what the test before has set
    return tmp_path


@pytest.fixture
def mlflow_project(project: Path) -> Path:
    """The same with MLflow's database."""
    return copy_mlflow_database(project)
