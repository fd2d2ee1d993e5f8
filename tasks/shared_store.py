"""The shared store of a run (`store.url`): results that are missing here are fetched from it, and every result is copied to it.

Invariant: it holds copies only. Tasks read `runs/store`, and neither a key nor a digest depends on the shared store. A result that is
complete here is used, whatever the shared store has.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tasks.artifact import Artifact, store_folder
from tasks.progress import say
from tasks.store_exchange import RUNS, Remote, manifest_hash

LINEAGE_FILES = ("run.json", "baselines.json")
"""The files of a report's folder that name the results of the run."""
LOOK_UPS_AT_ONCE = 16
"""Most of the time of a look-up is the way to the shared store and back."""
_MARKER = "agentevol-store"
Item = TypeVar("Item")
Found = TypeVar("Found")


class SharedStore:
    """A location that other machines use as well. `checked`: the results that this process fetched or published, by name."""

    def __init__(self, url: str) -> None:
        """Raises RemoteError at once if the location cannot be read and written."""
        self.remote = Remote(url)
        self.checked: set[str] = set()
        if self.remote.files.read(_MARKER) is None:
            self.remote.files.create(b"Results of AgentEvol, by content.\n", _MARKER)

    def fetch(self, name: str) -> bool:
        found = self.remote.fetch(name) is not None
        if found:
            self.checked.add(name)
        return found

    def publish(self, root: Path, digest: str) -> None:
        if root.name in self.checked:
            return
        shared = self.remote.publish(root)
        self.checked.add(root.name)
        if shared.digest != digest:
            say(
                f"{root.name}: {self.remote.url} already has a different result of this step (sha256 {shared.digest[:12]}, here"
                f" {digest[:12]}); another kind of machine can cause this. It stays there; this run continues with its own"
            )

    def withdraw(self, name: str, digest: str) -> None:
        self.checked.discard(name)
        self.remote.withdraw(name, digest)


_shared: SharedStore | None = None


def use_shared_store(url: str | None) -> None:
    """From now on, tasks of this process share their results at this URL; None: only `runs/store`. Raises RemoteError."""
    global _shared
    _shared = SharedStore(url) if url else None


def shared_url() -> str | None:
    """The URL of the shared store that this process uses."""
    return _shared.remote.url if _shared else None


def fetch(name: str) -> bool:
    """Copy the result of a key into the store if the shared store has it. Call it with the key's lock held. Raises RemoteError."""
    return _shared is not None and _shared.fetch(name)


def look_up_each(look_up: Callable[[Item], Found], items: Sequence[Item]) -> list[Found]:
    """`look_up` of each item, in their order; several at a time if they ask the shared store. Raises the error of the first that fails."""
    if _shared is None or len(items) < 2:
        return [look_up(item) for item in items]
    with ThreadPoolExecutor(LOOK_UPS_AT_ONCE, thread_name_prefix="look-up") as pool:
        return list(pool.map(look_up, items))


def publish(root: Path, digest: str) -> None:
    """Copy a complete folder of the store to the shared store, if its key has no result there. Raises RemoteError."""
    if _shared is not None:
        _shared.publish(root, digest)


def evict(artifact: Artifact) -> None:
    """Remove a result from the store, and from the shared store, so that its task runs again."""
    root = store_folder(artifact)
    shutil.rmtree(root, ignore_errors=True)
    if _shared is not None:
        _shared.withdraw(root.name, artifact.digest)


def publish_run(folder: Path) -> None:
    """Record at the shared store what the report of a run refers to, so that `agentevol data gc` keeps it. Raises RemoteError."""
    if _shared is not None:
        record_run(_shared.remote, folder)


def record_run(remote: Remote, folder: Path) -> None:
    """`publish_run`, at any location. A record of another machine's run of that name stays: it protects other results."""
    for name in LINEAGE_FILES:
        if (folder / name).exists():
            content = (folder / name).read_bytes()
            if not remote.files.create(content, RUNS, folder.name, name) and remote.files.read(RUNS, folder.name, name) != content:
                remote.files.create(content, RUNS, f"{folder.name}-{manifest_hash(content)}", name)


def record_digest(remote: Remote, digest: str) -> None:
    """Record at a location that somebody pushed this digest, so that `agentevol data gc` keeps it. Raises RemoteError."""
    record = {"pushed": {"result": {"sha256": digest}}}  # in the form of a run's lineage
    remote.files.create(json.dumps(record).encode(), RUNS, f"pushed-{digest[:12]}", LINEAGE_FILES[0])
