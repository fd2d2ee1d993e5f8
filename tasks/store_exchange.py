"""Exchange of results between the store and a shared location (a folder, s3://, ssh://: whatever fsspec supports), by content.

Invariant: the location holds `store/<folder>/<hash of its manifest>/…`, which are folders of runs/store, and
`index/<digest>/<folder>/<the same hash>`, an empty file written last. Everything in the index is therefore complete, even if several
writers push at once; nothing there is ever changed or removed. What is pulled is verified before it enters the store.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from agentevol.data.artifact_folder import (
    MANIFEST,
    IncompleteFolder,
    atomic_folder,
    incomplete_folder_error,
    is_complete,
    read_manifest,
    sha256_file,
)
from tasks import paths
from tasks.artifact import PRODUCT, SCHEMA, check_store
from tasks.progress import progress_bar
from tasks.store_catalogue import Entry, resolve_prefix
from tasks.store_verification import NotAsDescribed, verify_result

EXTRAS = {"s3": "s3", "s3a": "s3", "ssh": "ssh", "sftp": "ssh"}

_FOLDER_NAME = re.compile(r"[a-z][a-z0-9-]*-v[A-Za-z0-9.]+-[0-9a-f]{16}")


class RemoteError(RuntimeError):
    """The location could not be reached, read or written; the message says which and why."""


class Remote:
    """A shared location by its URL. Every error of its file system is raised as RemoteError."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files, self.root = _open(url)

    def push(self, entries: Sequence[Entry]) -> int:
        """Copy the entries' folders that are missing there; returns how many were missing."""
        new = 0
        with progress_bar("pushing") as progress:
            for done, entry in enumerate(entries, 1):
                new += self._push(entry)
                progress(done, len(entries))
        return new

    def read_index(self) -> dict[str, list[str]]:
        """The digests at the location, each with the folders that hold it, as `<folder>/<hash>`."""
        index: dict[str, list[str]] = {}
        for path in sorted(self._find("index")):
            *_, digest, folder, manifest_hash = PurePosixPath(path).parts
            index.setdefault(digest, []).append(f"{folder}/{manifest_hash}")
        return index

    def pull(self, selected: Mapping[str, Sequence[str]]) -> int:
        """Copy folders into the store that are missing or incomplete there; returns how many. Raises IncompatibleSchema.

        `selected`: digests, each with the folders that hold it (a part of the index).
        """
        check_store()
        by_name = {folder.partition("/")[0]: (folder, digest) for digest, folders in selected.items() for folder in folders}
        if unknown := [name for name in by_name if not _FOLDER_NAME.fullmatch(name)]:
            raise RemoteError(f"{self.url}: the index names {unknown[0]}, which is no folder of a store")
        missing = [entry for name, entry in by_name.items() if not is_complete(paths.store() / name)]
        with progress_bar("pulling") as progress:
            for done, (folder, digest) in enumerate(missing, 1):
                self._pull(folder, digest)
                progress(done, len(missing))
        return len(missing)

    def _push(self, entry: Entry) -> bool:
        index_folder = self._path("index", entry.artifact.digest, entry.root.name)
        if self._find(f"index/{entry.artifact.digest}/{entry.root.name}"):  # an empty folder is left over from a kill
            return False
        if not is_complete(entry.root):
            raise incomplete_folder_error(entry.root, "its files differ from its manifest")
        manifest_hash = sha256_file(entry.root / MANIFEST)[:16]
        for name in [*read_manifest(entry.root)["files"], MANIFEST]:
            self._put(entry.root / name, self._path("store", entry.root.name, manifest_hash, name))
        self._call("create", self.files.makedirs, index_folder, exist_ok=True)
        self._call("write", self.files.pipe_file, f"{index_folder}/{manifest_hash}", b"")
        return True

    def _pull(self, folder: str, digest: str) -> None:
        name = folder.partition("/")[0]
        with atomic_folder(paths.store() / name) as out:
            self._get(self._path("store", folder, MANIFEST), out / MANIFEST)
            remedy = f"remove it and index/*/{folder} there, and push it again"
            manifest = read_manifest(out)
            if manifest.get("schema") != SCHEMA:
                raise RemoteError(
                    f"{self.url}: store/{folder} was written by {manifest.get('created_by', 'an unknown version')}"
                    f" (schema {manifest.get('schema', 'unknown')}; {PRODUCT} reads {SCHEMA}): use that version, or another location"
                )
            for file in manifest["files"]:
                if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
                    raise RemoteError(f"{self.url}: the manifest of {folder} names {file}, which is outside of its folder")
                (out / file).parent.mkdir(parents=True, exist_ok=True)
                self._get(self._path("store", folder, file), out / file)
            if not is_complete(out):
                raise RemoteError(f"{self.url}: store/{folder} is damaged there; {remedy}")
            try:
                verify_result(out, name, digest)
            except (NotAsDescribed, IncompleteFolder) as error:
                raise RemoteError(
                    f"{self.url}: store/{folder} is not what it claims to be: {error}. Nothing of it was kept; ask whoever wrote it,"
                    f" or {remedy}"
                ) from None

    def _find(self, folder: str) -> list[str]:
        try:
            files: list[str] = self.files.find(self._path(folder))
            return files
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._error("list", error) from None

    def _put(self, file: Path, path: str) -> None:
        self._call("create", self.files.makedirs, posixpath.dirname(path), exist_ok=True)
        self._call("write", lambda target: self.files.put_file(str(file), target), path)

    def _get(self, path: str, file: Path) -> None:
        self._call("read", self.files.get_file, path, str(file))

    def _path(self, *parts: str) -> str:
        return posixpath.join(self.root, *parts)

    def _call(self, action: str, function: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except Exception as error:  # of any library that implements the file system
            raise self._error(f"{action} {arguments[0]}", error) from None

    def _error(self, action: str, error: Exception) -> RemoteError:
        return RemoteError(f"{self.url}: could not {action}: {str(error).strip() or type(error).__name__}")


def select_remote(index: dict[str, list[str]], prefixes: Sequence[str], url: str) -> dict[str, list[str]]:
    """The part of the index whose digests begin with the prefixes, or all of it. Raises NotFound."""
    digests = [resolve_prefix(index, prefix, f"at {url}") for prefix in prefixes] or list(index)
    return {digest: index[digest] for digest in digests}


def _open(url: str) -> tuple[Any, str]:
    import fsspec

    protocol = url.partition("://")[0] if "://" in url else "file"
    try:
        files, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        extra = EXTRAS.get(protocol)
        remedy = f"pip install 'agentevol[{extra}]'" if extra else "give a folder, s3://bucket/folder or ssh://user@host/folder"
        raise RemoteError(f"{url}: {error}; {remedy}") from None
    except Exception as error:
        raise RemoteError(f"{url}: {str(error).strip() or type(error).__name__}") from None
    return files, str(root)
