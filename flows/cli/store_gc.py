"""The command `agentevol data gc`: its work and its lines.

Invariant: nothing is removed without --delete, and everything that goes is named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from tasks.store_catalogue import NotFound
from tasks.store_exchange import Remote
from tasks.store_gc import (
    DAY,
    IN_USE,
    StoredResult,
    beyond_limit,
    list_location,
    list_store,
    registered_digests,
    remove_from_location,
    remove_from_store,
    report_digests,
    shared_digests,
    unreachable,
)


def clean(url: str | None, delete: bool, min_age: float, keep_gb: float | None) -> Iterator[str]:
    """The lines to print; removes with `delete`. `min_age`: days. Raises RemoteError, TrackingUnavailable, IncompatibleSchema, NotFound."""
    if keep_gb is not None and url is None:
        raise NotFound("--keep-gb needs the URL of a shared store: only what can be fetched again from there is removed")
    remote = Remote(url) if url else None
    now, roots = time.time(), report_digests() | registered_digests()
    results = list_store()
    garbage = unreachable(results, roots, min_age * DAY, now)
    yield from _remove("runs/store", garbage, results, delete, remove_from_store, now, "unreachable")
    if remote is None:
        return
    if keep_gb is not None:
        gone = set(garbage)
        kept = [result for result in results if result not in gone]
        surplus = list(beyond_limit(kept, keep_gb * 1e9, remote, min(min_age * DAY, IN_USE), now))
        yield from _remove("runs/store", surplus, kept, delete, remove_from_store, now, "also in the shared store")
        over = _complete_bytes(kept) - _complete_bytes(surplus) - keep_gb * 1e9
        if over > 0:
            yield (
                f"runs/store: {over / 1e6:.2f} MB over --keep-gb {keep_gb:g}: the rest is not in the shared store with the same digest, was"
                " used in the last day, is an input of what was, or is a base model"
            )
    there = list_location(remote)
    garbage = unreachable(there, roots | shared_digests(remote), min_age * DAY, now)
    yield from _remove(remote.url, garbage, there, delete, lambda result: remove_from_location(remote, result), now, "unreachable")


def _remove(
    where: str,
    chosen: Sequence[StoredResult],
    results: Sequence[StoredResult],
    delete: bool,
    remove: Callable[[StoredResult], bool],
    now: float,
    reason: str,
) -> Iterator[str]:
    removed = []
    for result in chosen:
        if delete and not remove(result):
            yield f"  {result.name} was used in the meantime and stays"
            continue
        removed.append(result)
        age = (now - result.used) / DAY
        yield f"  {_megabytes([result]):>10}  {age:6.1f} days  {result.kind:12}  {result.name}"
    verb = "removed" if delete else "would be removed"
    count = f"{len(removed)} of {len(results)} results {verb} ({reason}), {_megabytes(removed)} of {_megabytes(results)}"
    yield f"{where}: {count}" + ("" if delete or not removed else "; --delete removes them")


def _complete_bytes(results: Sequence[StoredResult]) -> int:
    return sum(result.size for result in results if result.digest)


def _megabytes(results: Sequence[StoredResult]) -> str:
    return f"{sum(result.size for result in results) / 1e6:.2f} MB"
