"""Folders that are written whole or not at all, with a manifest of what is in them, and digests by content.

Invariant: a folder whose manifest.json is there and agrees with its files is complete; the manifest is written last, and the folder gets
its final name by one rename after everything is on the disk. Whatever else lies there is taken for unfinished and made again.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
TEMPORARY, ASIDE = ".tmp", ".old"


class IncompleteFolder(RuntimeError):
    """A folder is missing, unfinished or damaged; the message says which and what to do."""


@contextlib.contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """A temporary folder beside `final` that takes its name, and its place, when the block ends without an exception.

    A reader sees the old folder or the new one, whole. What killed processes left here is put in order first: their temporary folders are
    removed, and a folder that one of them had set aside for its successor comes back where that never took its place.
    """
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    _clear_stale(final)
    temporary = _sibling(final)
    temporary.mkdir()
    try:
        yield temporary
        _to_disk(temporary)
        _take_place(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_manifest(folder: Path, kind: str, **fields: Any) -> dict[str, Any]:
    """Write manifest.json over all files of `folder`: call it last. `fields` must be JSON values.

    Nothing else is written into it (no time, no version of the product), so that equal data make equal folders.
    """
    manifest = {"kind": kind, "files": _hashes(folder), **fields}
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    temporary = Path(folder) / f"{MANIFEST}.tmp"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(Path(folder) / MANIFEST)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder. Raises IncompleteFolder when the folder or the manifest is missing or unreadable."""
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise damaged(folder, f"there is no {MANIFEST}" if path.parent.is_dir() else "there is no such folder") from None
    except (OSError, ValueError) as error:
        raise damaged(folder, f"{MANIFEST} cannot be read: {error}") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise damaged(folder, f"{MANIFEST} lists no files")
    return manifest


def is_complete(folder: Path) -> bool:
    """Whether the manifest is there and every file it lists exists with the hash it lists."""
    try:
        files = read_manifest(folder)["files"]
        return all(sha256_file(Path(folder) / name) == digest for name, digest in files.items())
    except (IncompleteFolder, OSError):
        return False


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of a JSON value in one canonical form: keys sorted, no spaces, no NaN. Raises TypeError or ValueError for anything else."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below `folder`, its manifest left out."""
    return digest_json(_hashes(folder))


def _hashes(folder: Path) -> dict[str, str]:
    folder = Path(folder)
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return {name: sha256_file(path) for name, path in files if name != MANIFEST}


def damaged(folder: Path, reason: str) -> IncompleteFolder:
    """The error to raise for a folder that cannot be used."""
    return IncompleteFolder(f"{folder} is not complete: {reason}. Remove it and run the step that makes it again.")


def _sibling(final: Path, suffix: str = TEMPORARY) -> Path:
    return final.with_name(f".{final.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}{suffix}")


def _clear_stale(final: Path) -> None:
    for path in final.parent.glob(glob.escape(f".{final.name}.{socket.gethostname()}.") + "*"):
        process = path.stem.split(".")[-2]
        if path.suffix not in (TEMPORARY, ASIDE) or not process.isdigit() or _alive(int(process)):
            continue
        if path.suffix == ASIDE and not final.exists():
            path.rename(final)  # killed between the two renames of _take_place
        else:
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _to_disk(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_place(temporary: Path, final: Path) -> None:
    # A folder that is not empty cannot be renamed over: the old one steps aside first. Another process may do the same at the same time.
    for attempt in range(10):
        aside = _sibling(final, ASIDE)
        with contextlib.suppress(FileNotFoundError):
            final.rename(aside)
        try:
            temporary.rename(final)
        except OSError:
            with contextlib.suppress(OSError):
                aside.rename(final)  # nothing is lost where it could not be replaced
            if attempt == 9:
                raise
            continue
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        break
    _fsync(final.parent)
