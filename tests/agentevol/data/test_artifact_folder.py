"""What a process knows of files that it has read: it is true until they are written or replaced."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from agentevol.data import artifact_folder
from agentevol.data.artifact_folder import is_complete, sha256_file, sha256_file_once, write_manifest


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read."""
    names: list[str] = []
    file_digest = hashlib.file_digest
    monkeypatch.setattr(
        artifact_folder.hashlib, "file_digest", lambda stream, name: names.append(Path(stream.name).name) or file_digest(stream, name)
    )
    return names


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_folder, "SETTLED_AFTER", 0.0)
    file, other = tmp_path / "weights", tmp_path / "other"
    file.write_text("one")
    assert sha256_file_once(file) == sha256_file_once(file) == hashlib.sha256(b"one").hexdigest()
    assert reads == ["weights"]
    other.write_text("two")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))  # as `cp -p` and `rsync -t` do
    other.replace(file)
    assert sha256_file_once(file) == hashlib.sha256(b"two").hexdigest()
    file.write_text("three")
    assert sha256_file_once(file) == sha256_file(file) == hashlib.sha256(b"three").hexdigest()


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "weights").write_text("one")
    for _ in range(2):
        sha256_file_once(tmp_path / "weights")
    assert reads == ["weights"] * 2


def test_damage_is_found_by_a_process_that_has_read_the_folder(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_folder, "SETTLED_AFTER", 0.0)
    (tmp_path / "part").write_text("one")
    write_manifest(tmp_path, "text")
    assert is_complete(tmp_path, read_again=False)
    reads.clear()
    assert is_complete(tmp_path, read_again=False)
    assert not reads
    assert is_complete(tmp_path)
    assert reads == ["part"]
    (tmp_path / "part").write_text("two")
    assert not is_complete(tmp_path, read_again=False)
