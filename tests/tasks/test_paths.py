"""Results are found from the project's root, also from the temporary copy in which DVC runs a queued experiment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks import paths
from tasks.dvc_record import folder_md5, recorded_md5


def test_the_store_is_shared_with_experiments_in_a_temporary_copy(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = paths.store(), paths.tracking_uri()
    copy = project / ".dvc" / "tmp" / "exps" / "one"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert (paths.store(), paths.tracking_uri()) == shared


def test_recorded_paths_are_relative_so_that_the_project_can_be_moved(project: Path) -> None:
    assert paths.record(project / "runs" / "store" / "x") == "runs/store/x"
    assert paths.resolve("runs/store/x") == project.resolve() / "runs" / "store" / "x"
    assert paths.record(Path("/elsewhere/x")) == "/elsewhere/x"


@pytest.mark.slow
def test_the_hash_of_a_folder_is_that_of_dvc(project: Path) -> None:
    import subprocess
    import sys

    (project / "data" / "deep").mkdir(parents=True)
    (project / "data" / "b.txt").write_text("b")
    (project / "data" / "deep" / "ä.txt").write_text("a")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"], [sys.executable, "-m", "dvc", "add", "-q", "data"]):
        subprocess.run(command, check=True, capture_output=True, cwd=project)
    assert folder_md5(project / "data") == recorded_md5(project / "data.dvc")
    assert recorded_md5(project / "other.dvc") is None
