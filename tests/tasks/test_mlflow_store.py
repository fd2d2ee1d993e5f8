"""MLflow's storage is checked before anything is computed."""

from __future__ import annotations

import os
import signal
import socketserver
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks import mlflow_database, mlflow_store, paths
from tasks.mlflow_database import set_unfinished_aside
from tasks.mlflow_store import TrackingUnavailable, connect, get_or_create_experiment
from tests import ROOT
from tests.servers.ports import free_port
from tests.shared import copy_mlflow_database


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("451aebb31d03", r"made by an older MLflow than 3\.\d+.*Back it up, then: mlflow db upgrade 'sqlite:///.*mlflow\.db'"),
        ("ffffffffffff", r"made by a newer MLflow than 3\.\d+.*ffffffffffff is not known here.*MLFLOW_TRACKING_URI="),
    ],
)
def test_a_database_of_another_mlflow_version_is_reported_and_not_changed(project: Path, revision: str, message: str) -> None:
    with sqlite3.connect("mlflow.db") as database:
        database.execute("create table alembic_version (version_num varchar(32) not null)")
        database.execute("insert into alembic_version values (?)", [revision])
        database.execute("create table experiments (name varchar)")
        database.execute("insert into experiments values ('Default')")
    with pytest.raises(TrackingUnavailable, match=message):
        connect()
    with sqlite3.connect("mlflow.db") as database:
        assert database.execute("select count(*) from sqlite_master where type = 'table'").fetchone() == (2,)


def test_the_schema_versions_are_those_that_alembic_finds() -> None:
    from alembic.script import ScriptDirectory

    newest, known = mlflow_store._known_revisions()
    scripts = [script.revision for script in ScriptDirectory(str(mlflow_store._migrations().parent)).walk_revisions()]
    assert newest == scripts[0]
    assert known == set(scripts)


KILLED_WHILE_CREATING = """
import os, signal
from alembic.runtime.migration import HeadMaintainer
from tasks.mlflow_store import connect

steps = 0
original = HeadMaintainer.update_to_step

def update_to_step(self, step):
    global steps
    steps += 1
    if steps == 20:  # of about 50
        os.kill(os.getpid(), signal.SIGKILL)
    original(self, step)

HeadMaintainer.update_to_step = update_to_step
connect()
"""


@pytest.mark.slow
def test_a_kill_while_the_database_is_created_leaves_none(project: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_CREATING], cwd=project, env={**environment, "PYTHONPATH": str(ROOT)})
    assert killed.returncode == -signal.SIGKILL
    assert not Path("mlflow.db").exists()
    assert [experiment.name for experiment in connect().search_experiments()] == ["Default"]
    assert [path.name for path in project.glob("*mlflow.db*.tmp*")] == []


def test_a_database_that_another_program_left_unfinished_is_set_aside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mlflow server`, or a former version of this product, creates the tables one by one."""
    file = Path("mlflow.db")
    with sqlite3.connect(file) as database:
        database.execute("create table experiments (name varchar)")
    assert set_unfinished_aside(file, is_finished=lambda: True) is False  # the other program has completed it meanwhile
    monkeypatch.setattr(mlflow_database, "_UNCHANGED_SECONDS", 0.0)
    assert set_unfinished_aside(file, is_finished=lambda: False) is True
    assert not file.exists()
    assert Path("mlflow.db.unfinished").exists()
    with sqlite3.connect(file) as database:
        database.execute("create table experiments (name varchar)")
        database.execute("insert into experiments values ('Default')")
    assert set_unfinished_aside(file, is_finished=lambda: False) is False
    assert file.exists()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://127.0.0.1:{port}", "does not answer: .*refused.* Start it, or unset"),
        ("postgresql+pg8000://me:secret@127.0.0.1:{port}/x", "me:\\*\\*\\*@127.*cannot be used: .*Check MLFLOW_TRACKING_URI"),
        ("mysql+nosuch://127.0.0.1/x", "cannot be used: "),
        ("http://me:secret@127.0.0.1:{port}", r"http://me:\*\*\*@127\.0\.0\.1:\d+ \(MLFLOW_TRACKING_URI\) does not answer: .*refused"),
        ("http://me:secret@127.0.0.1:port", r"me:\*\*\*@127.*not a valid address\. Check its port"),
        ("http://me:secret/1@127.0.0.1", r"me:\*\*\*@127.*not a valid address\. Check its port, and write special characters"),
    ],
)
def test_an_unreachable_database_or_server_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch, uri: str, message: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(port=free_port()))
    with pytest.raises(TrackingUnavailable, match=message) as caught:
        connect()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@contextmanager
def listener(answer: bytes) -> Iterator[int]:
    """The port of a server that answers every request with these bytes."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(10_000)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_server_with_a_user_and_password_in_its_address_is_found() -> None:
    with listener(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") as port:
        mlflow_store._check_server(f"http://me:secret@127.0.0.1:{port}/")
        mlflow_store._check_server(f"http://me:p@ss@127.0.0.1:{port}")


def test_a_server_that_does_not_speak_http_is_one_line() -> None:
    message = r"^MLflow's server http://me:\*\*\*@\S+ .* does not answer: it does not speak HTTP \(BadStatusLine\)\. Start it, or unset .*$"
    with listener(b"SSH-2.0-OpenSSH_9.6\r\n") as port, pytest.raises(TrackingUnavailable, match=message):
        mlflow_store._check_server(f"http://me:secret@127.0.0.1:{port}")


@pytest.mark.parametrize("name", ["a%20b?c", "ä b"])  # MLflow caches a relative address: one such name per process
@pytest.mark.slow
def test_a_project_folder_of_any_name_keeps_its_own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    project = tmp_path / name
    project.mkdir()
    monkeypatch.chdir(project)
    for variable in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    copy_mlflow_database(project)
    client = connect()
    run = client.create_run(get_or_create_experiment(client, "agentevol"))
    client.log_text(run.info.run_id, "text", "file.txt")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(list(project.glob("mlruns/agentevol/*/artifacts/file.txt"))) == 1
    with sqlite3.connect(project / "mlflow.db") as database:
        assert ("agentevol",) in database.execute("select name from experiments").fetchall()


def test_a_file_that_is_not_a_database_is_one_line(project: Path) -> None:
    Path("mlflow.db").write_text("no database" * 200)
    with pytest.raises(TrackingUnavailable, match=r"file is not a database\. Move the file away"):
        connect()


def test_passwords_are_not_without_password() -> None:
    assert paths.without_password("postgresql://me:a%40b@host:5432/x") == "postgresql://me:***@host:5432/x"
    assert paths.without_password("http://me:a@b/c@host:5000/x") == "http://me:***@host:5000/x"
    assert paths.without_password("http://127.0.0.1:5000") == "http://127.0.0.1:5000"


def log_to_postgresql(project: Path) -> None:
    """In the database of MLFLOW_TRACKING_URI; tests/flows/test_postgresql.py runs it."""
    from tests.tasks.test_mlflow_champion import ENV_VERSIONS, VALIDATION, policy
    from tests.tasks.test_mlflow_run import log_twice

    assert paths.tracking_uri().startswith("postgresql")
    log_twice(project)
    client = mlflow_store.connect()
    run = client.search_runs([client.get_experiment_by_name("agentevol").experiment_id])[0]
    from tasks.mlflow_champion import challenge

    assert challenge(client, run.info.run_id, "a", policy(project, "a", 2), None, VALIDATION, ENV_VERSIONS).champion
    verdict = challenge(client, run.info.run_id, "c", policy(project, "c", 24), None, VALIDATION, ENV_VERSIONS)
    assert verdict.champion
    assert client.get_model_version_by_alias(verdict.name, "champion").source == paths.resolve("models/c").as_uri()


if __name__ == "__main__":
    log_to_postgresql(Path.cwd())


def test_a_deleted_experiment_is_one_line(mlflow_project: Path) -> None:
    client = connect()
    experiment = get_or_create_experiment(client, "agentevol")
    client.delete_experiment(experiment)
    with pytest.raises(TrackingUnavailable, match=rf"was deleted\. Restore it with .*restore -x {experiment}`"):
        get_or_create_experiment(client, "agentevol")
    client.restore_experiment(experiment)
    assert get_or_create_experiment(client, "agentevol") == experiment
