"""A PostgreSQL cluster that lives as long as a test, made by initdb as a user who is not root. Needs Debian's postgresql."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.servers.ports import free_port, wait_for

_FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
BIN = _FOUND[-1].parent if _FOUND else None
LACKING = [name for name, found in {"postgresql": BIN, "pg8000": find_spec("pg8000")}.items() if not found]
PASSWORD = "between colon:and@at"


@contextmanager
def postgres() -> Iterator[str]:
    """Yields the address of an empty database, with a password."""
    assert BIN is not None
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    folder = Path(tempfile.mkdtemp(prefix="agentevol-postgres-"))  # not below tmp_path, where another user may not go
    try:
        (folder / "password").write_text(PASSWORD)
        os.chown(folder, user.pw_uid, user.pw_gid)
        os.chown(folder / "password", user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        make = [BIN / "initdb", "-D", folder / "data", "-U", "mlflow", "-A", "scram-sha-256", "--pwfile", folder / "password", "-N"]
        subprocess.run([*map(str, make), "-E", "UTF8", "--locale=C"], check=True, capture_output=True, cwd=folder, **as_user)
        port = free_port()
        serve = [BIN / "postgres", "-D", folder / "data", "-k", folder, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(list(map(str, serve)), stderr=log, cwd=folder, **as_user)
        try:
            wait_for(port, server)
            yield f"postgresql://mlflow:{PASSWORD.replace(':', '%3A').replace('@', '%40').replace(' ', '%20')}@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait(timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
