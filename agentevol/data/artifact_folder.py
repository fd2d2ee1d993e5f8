"""Artifact folders: written completely or not at all, with a manifest of their files, and named by the digest of their contents.

Invariant: a folder is complete if its manifest.json exists and agrees with its files. The manifest is written last, and the folder gets
its final name by one rename after all files are synced to disk. Any other folder counts as unfinished and is written again.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

MANIFEST = "manifest.json"
TEMPORARY_SUFFIX, BACKUP_SUFFIX = ".tmp", ".old"
VISIBLE_WITHIN = 90.0
"""Seconds after which a shared file system must show what another machine wrote (NFS remembers for up to a minute that a name is free)."""

SETTLED_AFTER = 2.0
"""Seconds after which a further change of a file shows in its times, which are coarse on some file systems."""
_KEPT_DIGESTS = 10_000


class IncompleteFolder(RuntimeError):
    """A folder is missing, unfinished or damaged; the message names the folder, the reason and the remedy."""


@contextlib.contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """A temporary folder that replaces `final` if the block ends without an exception.

    A reader sees the complete old folder or the complete new one. Leftovers of killed processes are cleaned up first: their temporary
    folders are removed, and a backup is renamed back to `final` if the process was killed before the new folder replaced it. They are in
    `.<name>.tmp/` next to `final`, so that finding them takes no longer where many folders are next to it.
    """
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    _clear_stale(final)
    temporary = _make_temporary(final)
    try:
        yield temporary
        _sync_to_disk(temporary)
        _replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process uses it
            temporary.parent.rmdir()


def sync_path_to_disk(path: Path) -> None:
    """Return once the file, or the entries of the folder, would survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_manifest(folder: Path, kind: str, **fields: Any) -> dict[str, Any]:
    """Write manifest.json with the digests of all files of `folder` and `fields`, which must be JSON values; returns it. Call it last.

    It has no time and no version of the product, so that equal data give equal folders.
    """
    manifest = {"kind": kind, "files": _file_digests(folder), **fields}
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    temporary = Path(folder) / f"{MANIFEST}.tmp"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(Path(folder) / MANIFEST)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder. Raises IncompleteFolder if the folder or the manifest is missing or cannot be read."""
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise incomplete_folder_error(folder, f"it has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise incomplete_folder_error(folder, f"{MANIFEST} cannot be read: {error}") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise incomplete_folder_error(folder, f"{MANIFEST} lists no files")
    return manifest


def is_complete(folder: Path, *, read_again: bool = True) -> bool:
    """Whether the manifest exists and every file in it exists with the digest in it.

    `read_again`: false: what this process has read before, and what has not been written since, is not read again.
    """
    try:
        return first_damaged_file(folder, sha256_file if read_again else sha256_file_once) is None
    except (IncompleteFolder, OSError):
        return False


def first_damaged_file(folder: Path, sha256: Callable[[Path], str] | None = None) -> str | None:
    """The name of a file whose digest differs from the manifest; None if all are as they were written. Raises IncompleteFolder, OSError."""
    files, sha256 = read_manifest(folder)["files"], sha256 or sha256_file
    return next((name for name, digest in files.items() if sha256(Path(folder) / name) != digest), None)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_file_once(path: Path) -> str:
    """SHA-256 of a file's bytes. A file that this process has read is not read again, unless it was written or replaced since."""
    with Path(path).open("rb") as stream:  # opening shows what another machine wrote on a shared file system
        version = _version(stream)
        if version in _digests:
            return _digests[version]
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if _version(stream) == version and time.time() - version.changed / 1e9 > SETTLED_AFTER:
            if len(_digests) >= _KEPT_DIGESTS:
                _digests.clear()
            _digests[version] = digest
    return digest


class _FileVersion(NamedTuple):
    """What differs after a file was written or replaced."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


def _version(stream: IO[bytes]) -> _FileVersion:
    status = os.fstat(stream.fileno())
    return _FileVersion(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


_digests: dict[_FileVersion, str] = {}


def digest_json(value: Any) -> str:
    """SHA-256 of the canonical form of a JSON value: sorted keys, no spaces. Raises TypeError or ValueError for other values and NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 of the names and contents of all files below `folder`, without its manifest."""
    return digest_json(_file_digests(folder))


def incomplete_folder_error(folder: Path, reason: str) -> IncompleteFolder:
    """The error for a folder that is missing, unfinished or damaged."""
    if not Path(folder).exists():
        return IncompleteFolder(f"{folder} is not complete: the folder does not exist. Check its name, or run the step that writes it.")
    return IncompleteFolder(f"{folder} is not complete: {reason}. Remove it and run the step that writes it again.")


def _file_digests(folder: Path) -> dict[str, str]:
    folder = Path(folder)
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return {name: sha256_file(path) for name, path in files if name != MANIFEST}


def _temporaries(final: Path) -> Path:
    return final.with_name(f".{final.name}{TEMPORARY_SUFFIX}")


def _temporary_name(final: Path, suffix: str) -> Path:
    return _temporaries(final) / f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}{suffix}"


def _make_temporary(final: Path) -> Path:
    temporary = _temporary_name(final, TEMPORARY_SUFFIX)
    while not temporary.exists():
        temporary.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process has just ended and removed the parent
            temporary.mkdir()
    return temporary


def _clear_stale(final: Path) -> None:
    for path in _temporaries(final).glob(glob.escape(f"{socket.gethostname()}.") + "*"):
        process_id = path.stem.split(".")[-2]
        if path.suffix not in (TEMPORARY_SUFFIX, BACKUP_SUFFIX) or not process_id.isdigit() or _process_exists(int(process_id)):
            continue
        if path.suffix == BACKUP_SUFFIX and not final.exists():
            path.rename(final)  # the process was killed between the two renames of _replace
        else:
            shutil.rmtree(path, ignore_errors=True)


def _process_exists(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_to_disk(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        sync_path_to_disk(path)


def _replace(temporary: Path, final: Path) -> None:
    # A rename cannot replace a folder that is not empty, so the old one is renamed first. Another process may do the same concurrently.
    for attempt in range(10):
        backup = _temporary_name(final, BACKUP_SUFFIX)
        with contextlib.suppress(FileNotFoundError):
            _move_away(final, backup)
        try:
            temporary.rename(final)
        except OSError:
            with contextlib.suppress(OSError):
                backup.rename(final)  # the old folder is kept if the new one cannot replace it
            if attempt == 9:
                raise
            continue
        finally:
            shutil.rmtree(backup, ignore_errors=True)
        break
    sync_path_to_disk(final.parent)


def _move_away(folder: Path, backup: Path) -> None:
    """Rename the folder. One that a container's image brought (a lower layer of an overlay) cannot be renamed: it is copied and removed."""
    try:
        folder.rename(backup)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copytree(folder, backup, symlinks=True)
        (folder / MANIFEST).unlink(missing_ok=True)  # first, so that a folder that a kill leaves half removed counts as unfinished
        shutil.rmtree(folder)
