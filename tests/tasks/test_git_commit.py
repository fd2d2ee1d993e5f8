"""The recorded commit is that of this product, never that of a repository around it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tasks import git_commit


def test_the_commit_of_a_surrounding_repository_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@localhost", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    installed = tmp_path / "venv" / "site-packages"
    for folder in (tmp_path, installed):
        (folder / "tasks").mkdir(parents=True)
        (folder / "tasks" / "code.py").write_text("")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "the user's own")
    monkeypatch.setattr(git_commit, "REPOSITORY", installed)
    (installed / "tasks" / "code.py").write_text("changed")
    assert git_commit.commit() == ""
    assert git_commit.has_uncommitted_changes() is False
    monkeypatch.setattr(git_commit, "REPOSITORY", tmp_path)
    assert git_commit.commit() == git("rev-parse", "HEAD")
    assert git_commit.has_uncommitted_changes() is False
    (tmp_path / "tasks" / "code.py").write_text("changed")
    assert git_commit.has_uncommitted_changes() is True
