"""Results of the store on a place that a team shares (a folder, s3://, ssh://: whatever fsspec reaches), and back, by content.

Invariant: up there lie `store/<folder>/<hash of its manifest>/…`, folders of runs/store, and `index/<digest>/<folder>/<the same hash>`,
an empty file written last. So what the index names is whole, whoever wrote at the same time; nothing is ever changed or removed there.
What comes down is verified before it counts.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from agentevol.data.artifact_folder import MANIFEST, atomic_folder, incomplete_folder_error, is_complete, read_manifest, sha256_file
from tasks import paths
from tasks.progress import bar
from tasks.store_catalogue import Entry, only

EXTRAS = {"s3": "s3", "s3a": "s3", "ssh": "ssh", "sftp": "ssh"}


class RemoteFailed(RuntimeError):
    """The place could not be reached, read or written; the message says which and why."""


class Remote:
    """A place by its URL; every error of its file system ends as RemoteFailed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files, self.root = _open(url)

    def push(self, entries: Sequence[Entry]) -> int:
        """Copy the store's folders there that it has not yet; returns how many it had not."""
        new = 0
        with bar("pushing") as tick:
            for done, entry in enumerate(entries, 1):
                new += self._push(entry)
                tick(done, len(entries))
        return new

    def known(self) -> dict[str, list[str]]:
        """The digests there, each with the folders that hold it, as `<folder>/<hash>`."""
        found: dict[str, list[str]] = {}
        for path in sorted(self._find("index")):
            *_, digest, folder, mark = PurePosixPath(path).parts
            found.setdefault(digest, []).append(f"{folder}/{mark}")
        return found

    def pull(self, folders: Iterable[str]) -> int:
        """Bring folders into the store that are not whole there; returns how many that were."""
        by_name = {place.partition("/")[0]: place for place in folders}
        wanted = [place for name, place in by_name.items() if not is_complete(paths.store() / name)]
        with bar("pulling") as tick:
            for done, place in enumerate(wanted, 1):
                self._pull(place)
                tick(done, len(wanted))
        return len(wanted)

    def _push(self, entry: Entry) -> bool:
        known = self._at("index", entry.artifact.digest, entry.home.name)
        if self._find(f"index/{entry.artifact.digest}/{entry.home.name}"):  # an empty folder is one that a kill left
            return False
        if not is_complete(entry.home):
            raise incomplete_folder_error(entry.home, "its files are not those of its manifest")
        mark = sha256_file(entry.home / MANIFEST)[:16]
        for name in [*read_manifest(entry.home)["files"], MANIFEST]:
            self._put(entry.home / name, self._at("store", entry.home.name, mark, name))
        self._try("make", self.files.makedirs, known, exist_ok=True)
        self._try("write", self.files.pipe_file, f"{known}/{mark}", b"")
        return True

    def _pull(self, place: str) -> None:
        with atomic_folder(paths.store() / place.partition("/")[0]) as out:
            self._get(self._at("store", place, MANIFEST), out / MANIFEST)
            for file in read_manifest(out)["files"]:
                if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
                    raise RemoteFailed(f"{self.url}: the manifest of {place} names {file}, which lies outside of its folder")
                (out / file).parent.mkdir(parents=True, exist_ok=True)
                self._get(self._at("store", place, file), out / file)
            if not is_complete(out):
                raise RemoteFailed(f"{self.url}: store/{place} is damaged there; remove it and index/*/{place} there, and push it again")

    def _find(self, folder: str) -> list[str]:
        try:
            found: list[str] = self.files.find(self._at(folder))
            return found
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._failed("list", error) from None

    def _put(self, file: Path, path: str) -> None:
        self._try("make", self.files.makedirs, posixpath.dirname(path), exist_ok=True)
        self._try("write", lambda to: self.files.put_file(str(file), to), path)

    def _get(self, path: str, to: Path) -> None:
        self._try("read", self.files.get_file, path, str(to))

    def _at(self, *parts: str) -> str:
        return posixpath.join(self.root, *parts)

    def _try(self, what: str, call: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return call(*arguments, **named)
        except Exception as error:  # of whichever library speaks to the place
            raise self._failed(f"{what} {arguments[0]}", error) from None

    def _failed(self, what: str, error: Exception) -> RemoteFailed:
        return RemoteFailed(f"{self.url}: could not {what}: {str(error).strip() or type(error).__name__}")


def chosen(known: dict[str, list[str]], prefixes: Sequence[str], url: str) -> dict[str, list[str]]:
    """What is there by the prefixes of its digests, or all of it. Raises NotHere."""
    wanted = [only(known, prefix, f"at {url}") for prefix in prefixes] or list(known)
    return {digest: known[digest] for digest in wanted}


def _open(url: str) -> tuple[Any, str]:
    import fsspec

    protocol = url.partition("://")[0] if "://" in url else "file"
    try:
        files, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        extra = EXTRAS.get(protocol)
        remedy = f"pip install 'agentevol[{extra}]'" if extra else "give a folder, s3://bucket/folder or ssh://user@host/folder"
        raise RemoteFailed(f"{url}: {error}; {remedy}") from None
    except Exception as error:
        raise RemoteFailed(f"{url}: {str(error).strip() or type(error).__name__}") from None
    return files, str(root)
