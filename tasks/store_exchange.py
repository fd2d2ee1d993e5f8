"""Exchange of results between the store and a shared location (a folder, s3://, ssh://: whatever fsspec supports).

Invariant: the location holds `store/<folder>/<hash of its manifest>/...`, which are folders of runs/store. After all its files come the two
entries that make a result visible: `index/<digest>/<folder>/<the same hash>`, an empty file, by which people pull content, and
`manifests/<folder>.json`, a copy of the manifest, by which runs find the result of a key with one request. What is visible is therefore
complete, even if several writers push at once. Of several results of a key, the first stays the one of `manifests/`. What is copied from
there is verified before it enters the store. Any other file there (a killed upload's, a file browser's) is ignored.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agentevol.data.artifact_folder import (
    MANIFEST,
    IncompleteFolder,
    atomic_folder,
    first_damaged_file,
    incomplete_folder_error,
    is_complete,
    read_manifest,
)
from tasks import paths
from tasks.artifact import PRODUCT, SCHEMA, artifact_of, check_store
from tasks.progress import progress_bar, say
from tasks.remote_files import RemoteError, RemoteFiles
from tasks.store_catalogue import Entry, resolve_prefix
from tasks.store_verification import NotAsDescribed, verify_result

STORE, INDEX, MANIFESTS, RUNS = "store", "index", "manifests", "runs"
"""The folders of a location; `runs/<run>/run.json` holds what that run's report refers to, for `agentevol data gc`."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HASH = re.compile(r"[0-9a-f]{16}")
_FOLDER_NAME = re.compile(r"[a-z][a-z0-9-]*-v[A-Za-z0-9.]+-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class SharedResult:
    """The result that a location has for a key. `name`: its folder in the store; `digest`: its content, as its manifest says."""

    name: str
    manifest: bytes
    digest: str

    @property
    def hash(self) -> str:
        return manifest_hash(self.manifest)


class Remote:
    """A shared location by its URL. Every error of its file system is raised as RemoteError."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files = RemoteFiles(url)

    def find(self, name: str) -> SharedResult | None:
        """The result of a key (a folder's name in the store); None if there is none. One request, however much the location holds."""
        content = self.files.read(MANIFESTS, f"{name}.json")
        if content is None:
            return None
        try:
            digest = json.loads(content)["artifact"]["digest"]
        except (ValueError, KeyError, TypeError):
            digest = None
        if not isinstance(digest, str):
            raise self.files.error(f"{MANIFESTS}/{name}.json is not a manifest; {_remedy(name)}")
        return SharedResult(name, content, digest)

    def fetch(self, name: str) -> SharedResult | None:
        """Copy the result of a key into the store; None if there is none. Raises RemoteError for one that is not what it claims to be."""
        shared = self.find(name)
        if shared is None:
            return None
        try:
            self._copy(name, shared.manifest, shared.digest, "the manifest")
        except RemoteError:
            if self.find(name) is None:  # removed meanwhile
                return None
            raise
        return shared

    def publish(self, root: Path) -> SharedResult:
        """Copy a complete folder of the store there, unless its key has a result; returns the result that the key has there."""
        if shared := self.find(root.name):
            return shared
        self._upload(root)
        return self._claim(root)

    def withdraw(self, name: str, digest: str) -> None:
        """Remove the result of a key if it has this digest."""
        shared = self.find(name)
        if shared and shared.digest == digest:
            self.remove(name, shared.hash, digest, is_current=True)

    def remove(self, name: str, hash_: str, digest: str | None, *, is_current: bool) -> None:
        """Remove one version of a result: first what makes it visible, then its files. `is_current`: it is the one of `manifests/`."""
        if is_current:
            self.files.remove(MANIFESTS, f"{name}.json")
        if digest is not None:
            self.files.remove(INDEX, digest, name, hash_)
        self.files.remove(STORE, name, hash_, MANIFEST)
        self.files.remove(STORE, name, hash_)

    def push(self, entries: Sequence[Entry]) -> int:
        """Copy the entries' folders that are missing there; returns how many were missing."""
        new = 0
        with progress_bar("pushing") as progress:
            for done, entry in enumerate(entries, 1):
                new += self._push(entry)
                progress(done, len(entries))
        return new

    def read_index(self, wanted: Sequence[str] = ()) -> dict[str, list[str]]:
        """The digests at the location, each with the folders that hold it, as `<folder>/<hash>`.

        If all that is `wanted` are whole digests, only these, without a listing of all others.
        """
        whole = bool(wanted) and all(_DIGEST.fullmatch(digest) for digest in wanted)
        index: dict[str, list[str]] = {}
        for place in [f"{INDEX}/{digest}" for digest in wanted] if whole else [INDEX]:
            for digest, folder, hash_ in self._index_entries(place):
                index.setdefault(digest, []).append(f"{folder}/{hash_}")
        return index

    def pull(self, selected: Mapping[str, Sequence[str]], *, everything: bool = False) -> int:
        """Copy folders into the store that are missing or incomplete there; returns how many. Raises IncompatibleSchema.

        `selected`: digests, each with the folders that hold it (a part of the index). The store has one result of a key: a complete one
        stays, and of several that are there, the one of `manifests/` is copied. If the store then lacks a digest, RemoteError is raised
        after all others were copied; with `everything`, one line says so instead.
        """
        check_store()
        by_name: dict[str, list[tuple[str, str]]] = {}
        for digest, folders in selected.items():
            for folder in folders:
                by_name.setdefault(folder.partition("/")[0], []).append((folder, digest))
        if unknown := [name for name in by_name if not _FOLDER_NAME.fullmatch(name)]:
            raise self.files.error(f"the index names {unknown[0]}, which is not a folder of a store")
        here: dict[str, str] = {}
        new = 0
        with progress_bar("pulling") as progress:
            for done, (name, versions) in enumerate(by_name.items(), 1):
                digest_here = _digest_here(name)
                if digest_here is None:
                    digest_here = self._pull(name, versions)
                    new += 1
                here[name] = digest_here
                progress(done, len(by_name))
        if lacking := [digest for digest in selected if digest not in here.values()]:
            message = self._explain_lacking(lacking, selected, here)
            if not everything:
                raise self.files.error(message)
            say(f"{self.url}: {message}")
        return new

    def _pull(self, name: str, versions: Sequence[tuple[str, str]]) -> str:
        """Copy one of the versions (folder there, digest) into the store; returns its digest."""
        current = self.find(name) if len(versions) > 1 else None
        folder, digest = next((version for version in versions if current and version[0] == f"{name}/{current.hash}"), versions[0])
        content = self.files.read(STORE, folder, MANIFEST)
        if content is None:
            raise self.files.error(f"{STORE}/{folder}/{MANIFEST} is missing there; {_remedy(folder)}")
        self._copy(name, content, digest, "the index", folder)
        return digest

    def _explain_lacking(self, lacking: Sequence[str], selected: Mapping[str, Sequence[str]], here: Mapping[str, str]) -> str:
        digest = lacking[0]
        name = selected[digest][0].partition("/")[0]
        others = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        return (
            f"{digest[:12]}{others} was not pulled: runs/store/{name} has another result of the same step (sha256 {here[name][:12]});"
            f" another kind of machine can cause this. To get it, move that folder away and pull {digest[:12]}"
        )

    def _index_entries(self, place: str) -> Iterator[tuple[str, str, str]]:
        """The digest, the folder and the hash of every result in this part of the index."""
        for file in self.files.find(place):
            _, *parts = PurePosixPath(file.path).parts
            if len(parts) == 3 and _DIGEST.fullmatch(parts[0]) and is_version(parts[2]):
                yield parts[0], parts[1], parts[2]

    def _push(self, entry: Entry) -> bool:
        shared = self.find(entry.root.name)
        if shared and shared.digest == entry.artifact.digest:
            return False
        if not is_complete(entry.root):
            raise incomplete_folder_error(entry.root, "its files differ from its manifest")
        is_new = not any(self._index_entries(f"{INDEX}/{entry.artifact.digest}/{entry.root.name}"))
        if is_new or shared is None:
            self._upload(entry.root)
            self._claim(entry.root)
        return is_new

    def _upload(self, root: Path) -> None:
        manifest, content = read_manifest(root), (root / MANIFEST).read_bytes()
        hash_ = manifest_hash(content)
        for name in [*manifest["files"], MANIFEST]:
            self.files.put(root / name, STORE, root.name, hash_, name)
        self.files.create(b"", INDEX, manifest["artifact"]["digest"], root.name, hash_)

    def _claim(self, root: Path) -> SharedResult:
        """Make the uploaded folder the result of its key, unless another writer was first."""
        content = (root / MANIFEST).read_bytes()
        own = SharedResult(root.name, content, json.loads(content)["artifact"]["digest"])
        if self.files.create(content, MANIFESTS, f"{root.name}.json"):
            return own
        return self.find(root.name) or own

    def _copy(self, name: str, content: bytes, digest: str, source: str, folder: str = "") -> None:
        """Copy `store/<folder>` with this manifest into the store, and verify it. `digest`: the content that `source` promises."""
        folder = folder or f"{name}/{manifest_hash(content)}"
        with atomic_folder(paths.store() / name) as out:
            (out / MANIFEST).write_bytes(content)
            manifest = read_manifest(out)
            if manifest.get("schema") != SCHEMA:
                raise self.files.error(
                    f"{STORE}/{folder} was written by {manifest.get('created_by', 'an unknown version')}"
                    f" (schema {manifest.get('schema', 'unknown')}; {PRODUCT} reads {SCHEMA}): use that version, or another location"
                )
            for file in manifest["files"]:
                if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
                    raise self.files.error(f"the manifest of {folder} names {file}, which is outside of its folder")
                (out / file).parent.mkdir(parents=True, exist_ok=True)
                if not self.files.get(out / file, STORE, folder, file):
                    raise self.files.error(f"{STORE}/{folder} is damaged there: {file} is missing; {_remedy(folder)}")
            if damaged := first_damaged_file(out):
                raise self.files.error(f"{STORE}/{folder} is damaged there: {damaged} differs from its manifest; {_remedy(folder)}")
            try:
                verify_result(out, name, digest, source)
            except (NotAsDescribed, IncompleteFolder) as error:
                raise self.files.error(
                    f"{STORE}/{folder} is not what it claims to be: {error}. Nothing of it was kept; ask whoever wrote it, or"
                    f" {_remedy(folder)}"
                ) from None


def select_remote(index: dict[str, list[str]], prefixes: Sequence[str], url: str) -> dict[str, list[str]]:
    """The part of the index whose digests begin with the prefixes, or all of it. Raises NotFound."""
    digests = [resolve_prefix(index, prefix, f"at {url}") for prefix in prefixes] or list(index)
    return {digest: index[digest] for digest in digests}


def manifest_hash(content: bytes) -> str:
    """The name of a version of a result at a location: 16 hexadecimal digits of its manifest's SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def is_version(name: str) -> bool:
    """Whether it has the form of `manifest_hash`."""
    return bool(_HASH.fullmatch(name))


def _digest_here(name: str) -> str | None:
    """The digest of a complete folder of the store; None if it is missing or incomplete."""
    root = paths.store() / name
    return artifact_of(read_manifest(root), root).digest if is_complete(root) else None


def _remedy(folder: str) -> str:
    name = folder.partition("/")[0]
    return f"remove {MANIFESTS}/{name}.json, {INDEX}/*/{name} and {STORE}/{name} there, and the next run or push writes them again"
