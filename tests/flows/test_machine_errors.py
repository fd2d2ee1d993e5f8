"""A full disk, a file of another user: one line, whatever library met it first."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import machine_errors
from flows.cli.machine_errors import machine_error
from tests import ROOT


def os_error(code: int, file: Path | None = None) -> OSError:
    return OSError(code, os.strerror(code), str(file)) if file else OSError(code, os.strerror(code))


def caused_by(cause: Exception, text: str = "the flow failed") -> Exception:
    try:
        try:
            raise cause
        except Exception as error:
            raise RuntimeError(text) from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (os_error(errno.ENOSPC, Path("runs/x")), "the disk is full (while writing runs/x)"),
        (os_error(errno.EDQUOT), "the disk is full."),
        (caused_by(os_error(errno.ENOSPC, Path("x"))), "the disk is full (while writing x)"),
        (caused_by(RuntimeError("(sqlite3.OperationalError) database or disk is full")), "the disk is full."),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full."),
        (os_error(errno.EROFS, Path("runs")), "runs: this file system is read-only"),
        (os_error(errno.EMFILE), "too many open files"),
    ],
)
def test_what_the_machine_reports_is_one_line(error: Exception, text: str) -> None:
    message = machine_error(error)
    assert message is not None
    assert message.startswith(text)
    assert "\n" not in message


def test_a_forbidden_file_is_reported_with_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".locks").mkdir()
    monkeypatch.setattr(machine_errors.os, "geteuid", lambda: 987654)  # without an account
    message = machine_error(os_error(errno.EACCES, tmp_path / ".locks" / "data.lock"))
    assert message is not None
    assert "data.lock: permission denied (" in message
    assert f"{tmp_path / '.locks'} belongs to " in message
    assert "this process runs as user 987654" in message


def test_errors_of_the_product_keep_their_traceback() -> None:
    assert machine_error(ValueError("a defect")) is None
    assert machine_error(os_error(errno.EACCES)) is None  # a socket, not a file
    assert machine_error(FileNotFoundError(errno.ENOENT, "no such file", "x")) is None


def test_any_error_on_a_full_disk_is_due_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_errors.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 0}))
    assert (machine_error(ValueError("500 Internal Server Error")) or "").startswith("the disk is full.")


def test_the_command_line_prints_that_line_alone(tmp_path: Path) -> None:
    """`agentevol report` with a table that may not be read. Root may read everything, so the error is raised in its place."""
    code = (
        "import pathlib, sys; from flows.cli.main import main\n"
        "def forbidden(self, *_, **__): raise PermissionError(13, 'Permission denied', str(self))\n"
        "pathlib.Path.is_file = forbidden; sys.argv = ['agentevol', 'report']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("agentevol: runs/latest/table.txt: permission denied")
