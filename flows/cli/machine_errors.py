"""Errors of the user's machine (a full disk, a file of another user) in one line.

Invariant: only errors that the operating system reports are named here; any other error keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_FULL_CODES = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS = ("no space left on device", "database or disk is full", "disk quota exceeded")
"""Libraries that are not written in Python report a full disk only by its text: SQLite, safetensors, Arrow."""
_FORBIDDEN_CODES = (errno.EACCES, errno.EPERM)
_ALMOST_NOTHING = 1 << 20
"""Free bytes below which an error of another kind, such as that of a local server, is most likely due to the disk."""


def machine_error(error: BaseException) -> str | None:
    """One line for the user: what failed, and what to do. None if the machine is not the cause."""
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in _FULL_CODES:
            return _full_disk(_file_of(cause))
        if any(text in str(cause).lower() for text in _FULL_TEXTS):
            return _full_disk(None)
        if isinstance(cause, OSError) and cause.errno in _FORBIDDEN_CODES and (file := _file_of(cause)):
            return _forbidden(file)
        if isinstance(cause, OSError) and cause.errno == errno.EROFS:
            return f"{_file_of(cause) or Path.cwd()}: this file system is read-only; run in a folder where you can write"
        if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
            return "too many open files: raise the limit (`ulimit -n 4096`) and run the same command again"
    return _full_disk(None) if _is_full(Path.cwd()) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and the errors that caused it."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _file_of(error: OSError) -> Path | None:
    return Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _ALMOST_NOTHING
    except OSError:
        return False


def _full_disk(file: Path | None) -> str:
    where = f" (while writing {file})" if file else ""
    return (
        f"the disk is full{where}. Free some space, or move the project to a larger disk, and run the same command again:"
        " it continues with the first missing result"
    )


def _forbidden(file: Path) -> str:
    existing = next((path for path in (file, *file.parents) if _exists(path)), None)
    owner = f"{existing} belongs to {_user_name(existing.stat().st_uid)}, and " if existing else ""
    return (
        f"{file}: permission denied ({owner}this process runs as {_user_name(os.geteuid())}). Run as its owner, use a copy of the project,"
        " or let a group share it: chgrp -R GROUP . && chmod -R g+rwX ., with umask 002"
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder above it cannot be read
        return False


def _user_name(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a container's user without an account
        return f"user {number}"
