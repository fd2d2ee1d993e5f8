"""Removal of results that nothing refers to any more, from the store and from a shared location.

Invariant: a result stays if a root reaches it: it is a root, or something that stays was made from it, or it only describes what stays
(scores, the gate's findings). Roots are what the reports of runs and MLflow's registered models refer to, and whatever was used lately, so
that a run in progress keeps all that it builds on. A result is removed manifest first: it is complete or absent at any time. A record or
a manifest that cannot be read ends the command: what it protects is not known.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from agentevol.data.artifact_folder import MANIFEST, IncompleteFolder, read_manifest
from tasks import paths
from tasks.artifact import check_store
from tasks.shared_store import LINEAGE_FILES
from tasks.store_catalogue import DATA, MODEL, input_digests
from tasks.store_exchange import INDEX, MANIFESTS, RUNS, STORE, Remote, is_version, manifest_hash

DAY = 86400.0
IN_USE = DAY
"""Seconds since its last use in which a result counts as used by a run in progress, which does not touch the folders that it reads."""
_ALWAYS_KEPT = "pretrain"
"""The task of a base model: it belongs to no run, and takes hours."""
_CHEAP = "roll_out_random"
"""The random player's episodes are in no report; they stay as long as their instructions."""


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result in the store (`version` is empty) or a version of it at a location. An unfinished one has no digest.

    `size`: bytes. `used`: when it was last used here, or written there, in seconds since 1970.
    """

    name: str
    size: int
    used: float
    digest: str = ""
    kind: str = "unfinished"
    task: str = ""
    inputs: frozenset[str] = frozenset()
    version: str = ""
    is_current: bool = False
    """Of a version: whether runs find it by its key."""

    @property
    def describes_its_inputs(self) -> bool:
        return self.kind not in (*DATA, *MODEL) or self.task == _CHEAP


def unreachable(results: Sequence[StoredResult], roots: Collection[str], min_age: float, now: float) -> list[StoredResult]:
    """The results that no root reaches. `roots`: digests. What was used less than `min_age` seconds before `now` is a root as well."""
    young = {result.digest for result in results if now - result.used < min_age}
    kept = _reached([result for result in results if result.digest], {*roots, *young})
    return [result for result in results if now - result.used >= min_age and not (result.digest and result.digest in kept)]


def _reached(results: Sequence[StoredResult], roots: Iterable[str]) -> set[str]:
    by_digest: dict[str, list[StoredResult]] = {}
    for result in results:
        by_digest.setdefault(result.digest, []).append(result)
    reached: set[str] = set()
    found = [*roots, *(result.digest for result in results if result.task == _ALWAYS_KEPT)]
    while found:
        while found:
            digest = found.pop()
            if digest not in reached:
                reached.add(digest)
                found += [above for result in by_digest.get(digest, ()) for above in result.inputs]
        descriptions = (result for result in results if result.describes_its_inputs and result.inputs)
        found = [result.digest for result in descriptions if result.digest not in reached and result.inputs <= reached]
    return reached


def report_digests() -> set[str]:
    """The digests in the reports of runs/. Raises IncompleteFolder for a record that cannot be read, because it protects results."""
    digests: set[str] = set()
    runs = paths.root() / "runs"
    for run in os.listdir(runs) if runs.exists() else ():  # `glob` leaves out folders that it cannot enter
        for file in (runs / run / name for name in LINEAGE_FILES):
            try:
                digests |= _digests_of_report(file.read_bytes(), str(file))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise IncompleteFolder(
                    f"{file} cannot be read ({error.strerror}), so nothing was removed; make it readable, or remove that run's folder"
                ) from None
    return digests


def registered_digests() -> set[str]:
    """The digests that MLflow's registered models refer to; none if the project has no database yet. Raises TrackingUnavailable."""
    file = paths.sqlite_file(paths.tracking_uri())
    if file is not None and not (paths.root() / file).exists():
        return set()
    from tasks.mlflow_champion import champion_digests
    from tasks.mlflow_store import connect

    return champion_digests(connect())


def shared_digests(remote: Remote) -> set[str]:
    """The digests in the reports of all machines that use this shared store."""
    records = [file.path for file in remote.files.find(RUNS) if PurePosixPath(file.path).name in LINEAGE_FILES]
    reports = remote.files.read_all(records)
    return {digest for path, content in reports.items() for digest in _digests_of_report(content, f"{remote.url}: {path}")}


def list_store() -> list[StoredResult]:
    """All folders of the store, unfinished ones and those that a kill left included.

    Raises IncompatibleSchema, and IncompleteFolder for a manifest that is there but cannot be read.
    """
    check_store()
    return [_result_of(folder) for folder in sorted(paths.store().glob("*/"))]


def list_location(remote: Remote) -> list[StoredResult]:
    """All versions of results at a location. Reads its whole listing and every manifest."""
    versions: dict[tuple[str, str], list[Any]] = {}
    for file in remote.files.find(STORE):
        _, *parts = PurePosixPath(file.path).parts
        if len(parts) > 2 and is_version(parts[1]):
            versions.setdefault((parts[0], parts[1]), []).append(file)
    visible = {file.path: file for folder in (INDEX, MANIFESTS) for file in remote.files.find(folder)}
    indexed = {PurePosixPath(path).parts[2:] for path in visible if path.startswith(f"{INDEX}/")}
    current = {
        (PurePosixPath(path).stem, manifest_hash(content))
        for path, content in remote.files.read_all([path for path in visible if path.startswith(f"{MANIFESTS}/")]).items()
    }
    manifests = remote.files.read_all([f"{STORE}/{name}/{version}/{MANIFEST}" for name, version in versions])
    results = []
    for (name, version), files in versions.items():
        written = [time.time() if file.modified is None else file.modified for file in files]
        result = StoredResult(name, sum(file.size for file in files), max(written), version=version)
        content = manifests.get(f"{STORE}/{name}/{version}/{MANIFEST}")
        if content is not None and ((name, version) in indexed or (name, version) in current):
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # a damaged manifest: as if it were unfinished
                result = _with_origin(result, json.loads(content), is_current=(name, version) in current)
        results.append(result)
    return results


def remove_from_store(result: StoredResult) -> bool:
    """Remove a folder of the store; False if it was used since it was listed."""
    folder = paths.store() / result.name
    with paths.lock(result.name):
        if not folder.exists():
            return True
        if _result_of(folder).used > result.used:
            return False
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder)
    return True


def remove_from_location(remote: Remote, result: StoredResult) -> bool:
    """Remove a version of a result."""
    remote.remove(result.name, result.version, result.digest or None, is_current=result.is_current)
    return True


def beyond_limit(results: Iterable[StoredResult], limit: float, remote: Remote, min_age: float, now: float) -> Iterator[StoredResult]:
    """Of the store's results, those to remove so that at most `limit` bytes stay: what was used longest ago goes first.

    Only what the shared store has with the same digest: a run fetches it again when it needs it. What was used less than `min_age` seconds
    before `now`, and what that was made from, stays: a run in progress holds its folders and does not look for them again.
    """
    complete = [result for result in results if result.digest]
    total = sum(result.size for result in complete)
    in_use = _reached(complete, {result.digest for result in complete if now - result.used < min_age})
    for result in sorted(complete, key=lambda result: result.used):
        if total <= limit:
            return
        if result.digest in in_use:
            continue
        shared = remote.find(result.name)
        if shared and shared.digest == result.digest:
            total -= result.size
            yield result


def _result_of(folder: Path) -> StoredResult:
    files = [file.stat() for file in folder.rglob("*") if file.is_file()]
    size, newest = sum(file.st_size for file in files), max([folder.stat().st_mtime, *(file.st_mtime for file in files)])
    try:
        manifest = read_manifest(folder)
    except IncompleteFolder as error:
        if isinstance(error.__context__, OSError) and not isinstance(error.__context__, FileNotFoundError):
            raise  # it may be complete, and name inputs that stay
        return StoredResult(folder.name, size, newest)
    if folder.name.startswith("."):  # of a process that was killed
        return StoredResult(folder.name, size, newest)
    return _with_origin(StoredResult(folder.name, size, folder.stat().st_mtime), manifest)


def _with_origin(result: StoredResult, manifest: dict[str, Any], *, is_current: bool = False) -> StoredResult:
    return StoredResult(
        result.name,
        result.size,
        result.used,
        digest=str(manifest["artifact"]["digest"]),
        kind=str(manifest["artifact"]["kind"]),
        task=str(manifest.get("task")),
        inputs=frozenset(input_digests(manifest.get("inputs", {}))),
        version=result.version,
        is_current=is_current,
    )


def _digests_of_report(content: bytes, source: str) -> set[str]:
    try:
        return {artifact["sha256"] for artifacts in json.loads(content).values() for artifact in artifacts.values()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IncompleteFolder(f"{source} is not a valid record of a run, so nothing was removed; repair or remove that file") from None
