"""A database whose creation was killed is created again; a database in use is never removed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flows import prefect_server, startup_wait
from flows.prefect_database import CONNECTION_URL, DatabaseCreation, database_variables
from flows.prefect_server import LocalServer, ServerStartupError
from tests.servers.ports import free_port

START_AND_DIE = """
import os, signal, sys, time
from pathlib import Path
from flows.prefect_server import LocalServer

server = LocalServer(Path(sys.argv[1]))
print(server.process.pid, flush=True)
while not (Path(sys.argv[1]) / "prefect.db").exists() and server.process.poll() is None:
    time.sleep(0.05)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_kill_while_the_database_is_created_is_not_noticed(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", START_AND_DIE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "prefect.db.unfinished").read_text() == killed.stdout.strip()
    psutil.wait_procs([psutil.Process(int(killed.stdout))] if psutil.pid_exists(int(killed.stdout)) else [])
    for file in tmp_path.glob("prefect.db*"):
        if file.name != "prefect.db.unfinished":
            file.unlink()
    with sqlite3.connect(tmp_path / "prefect.db") as half:  # what a migration leaves that was killed between its two transactions
        half.execute("create table alembic_version (version_num varchar(32) not null)")
        half.execute("create table flow (id integer)")
    server = LocalServer(tmp_path)
    try:
        server.wait()
    finally:
        server.stop()
    assert not (tmp_path / "prefect.db.unfinished").exists()
    with sqlite3.connect(tmp_path / "prefect.db") as database:
        assert database.execute("select count(*) from flow_run").fetchone() == (0,)


def test_what_a_killed_process_left_is_removed_unless_it_is_in_use(tmp_path: Path) -> None:
    creation, database = DatabaseCreation(tmp_path), tmp_path / "prefect.db"
    creation.begin()
    creation.release()
    database.write_bytes(b"half a database")
    creation = DatabaseCreation(tmp_path)
    creation.begin()
    assert not database.exists()
    creation.release()
    with sqlite3.connect(database) as used:
        used.execute("create table flow (id integer)")
        used.execute("insert into flow values (1)")
    creation = DatabaseCreation(tmp_path)
    creation.begin()
    creation.finish()
    assert database.exists()
    assert not creation.unfinished.exists()
    complete = DatabaseCreation(tmp_path)
    complete.begin()
    assert not complete.lock.is_locked


def test_a_database_of_another_prefect_version_is_left_to_prefect(tmp_path: Path) -> None:
    (tmp_path / "prefect.db").write_bytes(b"of another version")
    creation = DatabaseCreation(tmp_path)
    creation.begin()
    assert not creation.unfinished.exists()
    assert (tmp_path / "prefect.db").read_bytes() == b"of another version"
    creation.release()


def test_the_server_that_a_killed_process_left_is_ended(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as orphan:
        creation = DatabaseCreation(tmp_path)
        creation.begin()
        creation.started(orphan.pid)
        creation.release()
        again = DatabaseCreation(tmp_path)
        again.begin()
        assert not psutil.pid_exists(orphan.pid)
        again.release()
    (tmp_path / "prefect.db.unfinished").write_text(str(os.getpid()))
    os.utime(tmp_path / "prefect.db.unfinished", (0, 0))  # the number belongs to a process that started later: this one
    DatabaseCreation(tmp_path).begin()


@pytest.mark.parametrize(("folder", "database"), [("plain", None), ("a%20b", "a%2520b"), ("a?b", "a%3Fb")])
def test_the_address_of_the_database_is_escaped(tmp_path: Path, folder: str, database: str | None) -> None:
    uri = database_variables(tmp_path / folder).get("PREFECT_SERVER_DATABASE_CONNECTION_URL")
    assert uri == (database and f"sqlite+aiosqlite:///{tmp_path}/{database}/prefect.db")


@pytest.mark.parametrize(("code", "starts"), [("while True: pass", True), ("import time; time.sleep(600)", False)])
def test_a_server_that_works_is_waited_for_and_one_that_hangs_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, starts: bool
) -> None:
    monkeypatch.setattr(prefect_server, "module_command", lambda _: [sys.executable, "-c", code])
    monkeypatch.setattr(prefect_server, "STARTUP_SECONDS", 0.0)
    monkeypatch.setattr(startup_wait, "EXTENSION_SECONDS", 0.0)
    monkeypatch.setattr(prefect_server, "STOP_SECONDS", 0.1)
    used = iter([1.0, 2.0, 3.0, 301.0])
    if starts:  # the measured time of a busy process depends on the machine
        monkeypatch.setattr(startup_wait, "_processor_seconds", lambda _: next(used))
    server = LocalServer(tmp_path)
    try:
        with pytest.raises(prefect_server.ServerStartupError, match="did not answer"):
            server.wait()
    finally:
        server.stop()
    assert list(used) == ([] if starts else [1.0, 2.0, 3.0, 301.0])


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        ("postgresql://me:a%40b@host:5432/x", "postgresql+asyncpg://me:a%40b@host:5432/x"),
        ("postgres://host/x", "postgresql+asyncpg://host/x"),
        ("postgresql+asyncpg://host/x", "postgresql+asyncpg://host/x"),
        ("sqlite+aiosqlite:////shared/prefect.db", "sqlite+aiosqlite:////shared/prefect.db"),
    ],
)
def test_a_database_that_the_user_names_gets_the_driver_that_prefect_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, passed_on: str
) -> None:
    monkeypatch.setenv(CONNECTION_URL, given)
    assert database_variables(tmp_path / "a%20b")[CONNECTION_URL] == passed_on


def test_a_named_database_that_does_not_answer_is_one_line_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONNECTION_URL, f"postgresql://me:secret@127.0.0.1:{free_port()}/x")
    message = (
        rf"^Prefect's database postgresql\+asyncpg://me:\*\*\*@127.* \({CONNECTION_URL}\) cannot be used: .*Check the variable, or unset"
    )
    with pytest.raises(ServerStartupError, match=message) as caught:
        LocalServer(tmp_path)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not list(tmp_path.iterdir())
