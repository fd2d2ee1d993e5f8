"""Child processes run this product's modules, whatever the working directory holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agentevol.python_process import module_command, module_environment
from flows import prefect_server


def test_a_folder_of_the_user_with_the_name_of_a_package_is_not_imported(tmp_path: Path) -> None:
    for package in ("flows", "tasks", "agentevol"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('the package of the user')")
    command = [*module_command("flows.cli"), "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=module_environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("agentevol ")


def test_the_local_server_is_started_that_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Started(Exception):
        pass

    def popen(command: list[str], env: dict[str, str], **_: object) -> None:
        assert command[:-1] == module_command("flows.prefect_server")
        assert env.items() >= {name: module_environment()[name] for name in ("PYTHONPATH", "PYTHONSAFEPATH")}.items()
        raise Started

    monkeypatch.setattr(prefect_server.subprocess, "Popen", popen)
    with pytest.raises(Started):
        prefect_server.LocalServer(tmp_path)
