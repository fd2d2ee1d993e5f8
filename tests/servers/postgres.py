"""A PostgreSQL server with databases for tests, made by initdb as a user who is not root. Needs Debian's postgresql and the extra dev."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.servers.ports import free_port, wait_for

_FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
BIN = _FOUND[-1].parent if _FOUND else None
LACKING = [name for name, found in {"postgresql": BIN, "pg8000": find_spec("pg8000")}.items() if not found]
USER, PASSWORD = "agentevol", "between colon:and@at"


@dataclass(frozen=True)
class PostgresServer:
    port: int

    def new_database(self, name: str) -> str:
        """The address of an empty database, with a password."""
        self.execute(f"CREATE DATABASE {name}")
        return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """The rows that the statement returns, if it returns any."""
        from pg8000.dbapi import connect

        with closing(connect(USER, "127.0.0.1", database, self.port, PASSWORD)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    assert BIN is not None
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    folder = Path(tempfile.mkdtemp(prefix="agentevol-postgres-"))  # not below tmp_path, where another user may not go
    try:
        (folder / "password").write_text(PASSWORD)
        os.chown(folder, user.pw_uid, user.pw_gid)
        os.chown(folder / "password", user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        make = [BIN / "initdb", "-D", folder / "data", "-U", USER, "-A", "scram-sha-256", "--pwfile", folder / "password", "-N"]
        subprocess.run([*map(str, make), "-E", "UTF8", "--locale=C"], check=True, capture_output=True, cwd=folder, **as_user)
        port = free_port()
        serve = [BIN / "postgres", "-D", folder / "data", "-k", folder, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(list(map(str, serve)), stderr=log, cwd=folder, **as_user)
        try:
            wait_for(port, server)
            yield PostgresServer(port)
        finally:
            server.terminate()
            server.wait(timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
