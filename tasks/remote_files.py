"""The files of a shared location: a folder, s3://, ssh://, or whatever else fsspec reaches.

Invariant: every error is a RemoteError of one line that names the location. What may pass by itself (503, a time limit, a broken
connection) is tried again with growing pauses, a bounded number of times; nothing else is. No credential is accepted in a URL or repeated.
"""

from __future__ import annotations

import errno
import os
import posixpath
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from agentevol.settings.store import OBJECT_STORES, holds_credentials

EXTRAS = {"s3": "s3", "s3a": "s3", "ssh": "ssh", "sftp": "ssh"}
TRIES = 7
FIRST_PAUSE = 0.5
"""Seconds before the second try; every further pause is twice as long: 31.5 s of pauses in all."""
_PASSING_CODES = (
    *(errno.EAGAIN, errno.EBUSY, errno.EIO, errno.ESTALE, errno.EREMOTEIO, errno.ETIMEDOUT, errno.EPIPE, errno.EHOSTUNREACH),
    *(errno.ENETUNREACH, errno.ENETDOWN, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED),
)
_PASSING_CLASSES = {"TimeoutError", "ConnectionError", "HTTPClientError", "ResponseParserError", "ClientPayloadError", "ConnectionLost"}
"""By name, at any place among the base classes: these are errors of Python, botocore, aiohttp and asyncssh."""
_SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
Result = TypeVar("Result")


class RemoteError(RuntimeError):
    """The location could not be reached, read or written; the message says which and why."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a listing: its path below the location, its size in bytes, and when it was written (seconds since 1970; None: unknown)."""

    path: str
    size: int
    modified: float | None


class RemoteFiles:
    """The files below a URL. Paths are given in parts, relative to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._files, self._root = _open(url)
        self._is_folder = "file" in _protocols(self._files)
        self._one_request = {"max_concurrency": 1} if "s3" in _protocols(self._files) else {}  # s3fs would ask for the size first
        self._is_bucket = not set(OBJECT_STORES).isdisjoint(_protocols(self._files))

    def read(self, *parts: str) -> bytes | None:
        """The content of a small file; None if there is none. One request."""
        return self._call("read", parts, lambda path: bytes(self._files.cat_file(path, **self._one_request)), missing=None)

    def read_all(self, paths: list[str]) -> dict[str, bytes]:
        """The contents of files of a listing, without those that were removed meanwhile. Only these may be missing from the result."""
        full = {self._path(path): path for path in paths}
        if not full:
            return {}
        nothing: dict[str, Any] = {}  # fsspec takes a name with * or [ for a pattern
        found = self._call("read", ("",), lambda _: self._files.cat(list(full), on_error="return", **self._one_request), missing=nothing)
        contents = {}
        for place, path in full.items():
            content = found.get(place)
            if not isinstance(content, bytes | FileNotFoundError):
                content = self.read(path)  # many requests at once provoke errors that pass: alone, it is tried again
            if isinstance(content, bytes):
                contents[path] = content
        return contents

    def create(self, content: bytes, *parts: str) -> bool:
        """Write a file that does not exist yet, all of it at once; False if it exists. Of two writers, one succeeds.

        An S3 server that ignores conditions (`If-None-Match`) lets the second one replace the file.
        """
        return self._call("write", parts, lambda path: self._create(content, path))

    def put(self, file: Path, *parts: str) -> None:
        """Copy a file of this machine there. A reader sees all of it or nothing where the location is a bucket or a folder."""
        self._call("write", parts, lambda path: self._put(file, path))

    def get(self, file: Path, *parts: str) -> bool:
        """Copy a file from there; False if there is none."""

        def copy(path: str) -> bool:
            self._files.get_file(path, str(file))
            return True

        return self._call("read", parts, copy, missing=False)

    def find(self, folder: str) -> list[RemoteFile]:
        """All files below a folder, sorted; none if it does not exist. A folder that cannot be listed is an error, never an empty one."""
        found = self._find_in_bucket(folder) if self._is_bucket else self._find_in_folders(folder)
        return [RemoteFile(path, int(entry.get("size") or 0), _modified(entry)) for path, entry in sorted(found.items())]

    def remove(self, *parts: str) -> None:
        """Remove a file or a folder with all that is in it; nothing happens if there is none."""

        def remove(path: str) -> None:
            self._files.invalidate_cache()
            self._files.rm(path, recursive=True)

        self._call("remove", parts, remove, missing=None)

    def error(self, text: str) -> RemoteError:
        return RemoteError(f"{self.url}: {_without_secrets(text)}")

    def _find_in_bucket(self, folder: str) -> dict[str, dict[str, Any]]:
        def listing(path: str) -> dict[str, dict[str, Any]]:
            self._files.invalidate_cache()
            found: dict[str, dict[str, Any]] = self._files.find(path, detail=True)
            return found

        nothing: dict[str, dict[str, Any]] = {}
        return {self._relative(path): entry for path, entry in self._call("list", (folder,), listing, missing=nothing).items()}

    def _find_in_folders(self, folder: str) -> dict[str, dict[str, Any]]:
        """Folder by folder: fsspec's own `find` leaves out the folders that it could not list."""

        def listing(path: str) -> list[dict[str, Any]]:
            self._files.invalidate_cache()
            return list(self._files.ls(path, detail=True))

        nothing: list[dict[str, Any]] = []
        files, folders = dict[str, dict[str, Any]](), [folder]
        while folders:
            parent = folders.pop()
            for entry in self._call("list", (parent,), listing, missing=nothing):
                path, type_ = self._relative(entry["name"].rstrip("/")), entry["type"]
                if type_ == "file" or (type_ != "directory" and not self._files.isdir(entry["name"])):  # a link may lead to a folder
                    files[path] = entry
                elif path != parent:  # some file systems list the folder itself as well
                    folders.append(path)
        return files

    def _relative(self, path: str) -> str:
        return path[len(self._root.rstrip("/")) + 1 :]

    def _create(self, content: bytes, path: str) -> bool:
        self._make_parent(path)
        if self._is_folder:
            temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
            try:
                self._files.pipe_file(temporary, content)
                os.link(temporary, path)  # fails if the file exists, and never shows a part of it
            except FileExistsError:
                return False
            finally:
                Path(temporary).unlink(missing_ok=True)
            return True
        try:
            self._files.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
        except OSError:
            self._files.invalidate_cache()
            if self._files.exists(path):  # S3's answer to a condition that does not hold
                return False
            raise
        return True

    def _put(self, file: Path, path: str) -> None:
        self._make_parent(path)
        if not self._is_folder:
            self._files.put_file(str(file), path)
            return
        temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            self._files.put_file(str(file), temporary)
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _make_parent(self, path: str) -> None:
        if not self._is_bucket:  # a bucket has no folders, and s3fs would create a bucket that does not exist
            self._files.makedirs(posixpath.dirname(path), exist_ok=True)

    def _path(self, *parts: str) -> str:
        return posixpath.join(self._root, *parts)

    def _call(self, action: str, parts: tuple[str, ...], function: Callable[[str], Result], **missing: Result) -> Result:
        """`function(path)`, tried again while its errors may pass. `missing`: the result if there is no such file."""
        start, path = time.monotonic(), self._path(*parts)
        for attempt in range(1, TRIES + 1):
            try:
                return function(path)
            except Exception as error:  # of any library that implements the file system
                if isinstance(error, FileNotFoundError) and "missing" in missing:
                    return missing["missing"]
                if attempt < TRIES and _may_pass(error):
                    time.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
                    continue
                tried = f" ({attempt} tries in {time.monotonic() - start:.0f} s; run the same command again later)" if attempt > 1 else ""
                subject = posixpath.join(*parts) or "its files"
                raise self.error(f"could not {action} {subject}: {_one_line(error)}{tried}") from None
        raise AssertionError("the last try returns or raises")


def _may_pass(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in _PASSING_CODES:
        return True
    return not _PASSING_CLASSES.isdisjoint(base.__name__ for base in type(error).__mro__)


def _one_line(error: Exception) -> str:
    text = str(error.strerror) if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _without_secrets(text: str) -> str:
    for name in _SECRET_VARIABLES:
        if len(value := os.environ.get(name, "")) >= 8:
            text = text.replace(value, f"({name})")
    return text


def _modified(entry: dict[str, Any]) -> float | None:
    value = entry.get("mtime", entry.get("LastModified"))
    return value.timestamp() if isinstance(value, datetime) else float(value) if isinstance(value, int | float) else None


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _open(url: str) -> tuple[Any, str]:
    import fsspec

    protocol = url.partition("://")[0] if "://" in url else "file"
    if holds_credentials(url):
        raise RemoteError(
            f"{protocol}://...: the URL contains a key, a password or a query; leave it out: credentials come from the environment"
            " (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_...)"
        )
    try:
        files, root = fsspec.core.url_to_fs(url, **_options(protocol))
    except (ImportError, ValueError) as error:
        extra = EXTRAS.get(protocol)
        remedy = f"pip install 'agentevol[{extra}]'" if extra else "give a folder, s3://bucket/folder or ssh://user@host/folder"
        raise RemoteError(f"{url}: {error}; {remedy}") from None
    except Exception as error:
        raise RemoteError(f"{url}: {_without_secrets(_one_line(error))}") from None
    if protocol in ("s3", "s3a"):
        files.retries = 1
    return files, str(root)


def _options(protocol: str) -> dict[str, Any]:
    """The tries are counted here alone: s3fs and botocore would each multiply them."""
    if protocol not in ("s3", "s3a"):
        return {}
    import fsspec.config

    configured = fsspec.config.conf.get(protocol, {}).get("config_kwargs", {})
    return {"config_kwargs": {"retries": {"total_max_attempts": 1}, **configured}}
