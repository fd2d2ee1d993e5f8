"""What lies in the store and in data/, found by content: from a digest in MLflow back to the exact data set or model.

Invariant: only reads, and gives nothing out whose files are not those that its manifest names.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentevol.data.artifact_folder import IncompleteFolder, atomic_folder, is_complete, read_manifest
from tasks import paths
from tasks.artifact import Artifact, artifact_of

DATA, MODEL = ("trajectories", "instructions"), ("model",)
SHORTEST = 4
TOOLS = ("agentevol data", "agentevol model")


class NotHere(RuntimeError):
    """No such content on this machine, or more than one that begins so; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Content by its digest. `home` is the whole folder with the manifest, `folder` the part that is handed on; `origin` says how it was
    made (task, version, inputs), `used` which runs show it and as what ("M4-K1-s0-1a2b3c: Iteration 2 explored")."""

    artifact: Artifact
    home: Path
    origin: dict[str, Any]
    used: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.artifact.folder

    @property
    def in_store(self) -> bool:
        return self.home.parent == paths.store()


def entries(kinds: tuple[str, ...], data: Path = Path("data")) -> list[Entry]:
    """One entry per content, what runs show first and pieces of it (the chunks in which episodes are played) last."""
    used = _used()
    found: dict[str, Entry] = {}
    bases = _base_models(used) if set(kinds) & set(MODEL) else ()  # their digests are computed, which takes a while for large ones
    for entry in [*bases, *_expert_sets(paths.resolve(data), used), *_in_store(used)]:
        if entry.artifact.kind in kinds:
            digest = entry.artifact.digest
            if digest not in found or _made_of_itself(found[digest]):
                found[digest] = entry
    return sorted(found.values(), key=lambda entry: (not entry.used, entry.used, entry.artifact.path))


def _made_of_itself(entry: Entry) -> bool:
    """A merge that added nothing: what else has that content says where it came from."""
    return entry.artifact.digest in _digests(entry.origin.get("inputs", {}))


def chosen(prefixes: Sequence[str], run: str = "") -> list[Entry]:
    """Results of the store: those that begin with one of the prefixes, those that a run's report names, or all. Raises NotHere."""
    everything = list(_in_store(_used()))
    if run:
        everything = [
            entry for entry in everything if any(use.startswith(f"{run.removeprefix('runs/').strip('/')}: ") for use in entry.used)
        ]
        if not everything:
            raise NotHere(f"{run}: no run of that name in runs/, or nothing of it in the store; `agentevol data list` shows their names")
    if not prefixes:
        return everything
    wanted = {only([entry.artifact.digest for entry in everything], prefix, "in runs/store") for prefix in prefixes}
    return [entry for entry in everything if entry.artifact.digest in wanted]


def only(digests: Iterable[str], prefix: str, where: str) -> str:
    """The one digest that a prefix means. Raises NotHere."""
    start = _checked(prefix)
    found = sorted({digest for digest in digests if digest.startswith(start)})
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotHere(f"{prefix}: nothing {where} has a digest that begins so")
    first = ", ".join(digest[:16] for digest in found[:4])
    raise NotHere(f"{prefix}: {len(found)} {where} begin so ({first}{', …' if len(found) > 4 else ''}): give more digits")


def find(prefix: str, kinds: tuple[str, ...], data: Path = Path("data")) -> Entry:
    """The one entry whose digest begins so. Raises NotHere for none or several."""
    start = _checked(prefix)
    here = {entry.artifact.digest: entry for entry in entries(kinds, data)}
    if not any(digest.startswith(start) for digest in here):
        raise NotHere(_missing(prefix, kinds))
    return here[only(here, prefix, "here")]


def take(entry: Entry, to: Path) -> None:
    """A copy of the content in the new folder `to`. Raises IncompleteFolder where the store's files are damaged, FileExistsError."""
    if not is_complete(entry.home) and (entry.in_store or entry.artifact.kind in DATA):
        raise IncompleteFolder(
            f"{entry.home} is not what its manifest says: files are missing or changed. Remove it; the run that made it makes it again,"
            " or fetch it with: agentevol data pull"
        )
    if to.exists():
        raise FileExistsError(f"{to} is there already: give another --out")
    with atomic_folder(to) as out:
        shutil.copytree(entry.folder, out, dirs_exist_ok=True)


def ancestry(entry: Entry, data: Path = Path("data")) -> Iterator[tuple[int, str, str, Entry | None]]:
    """What it was made from, and that from what, as (depth, name of the input, digest, the entry where it is here).

    Of several inputs of one name (the pieces in which episodes are played) the first stands for all: they differ in nothing else.
    """
    here = {one.artifact.digest: one for one in entries((*DATA, *MODEL), data)}
    told: set[str] = set()

    def walk(of: Entry, depth: int) -> Iterator[tuple[int, str, str, Entry | None]]:
        for name, digest, count in _parents(of):
            if digest == of.artifact.digest:  # all of a set was taken: the same content
                continue
            found = here.get(digest)
            yield depth, f"{name} (1 of {count})" if count > 1 else name, digest, found
            if found and digest not in told:
                told.add(digest)
                yield from walk(found, depth + 1)

    yield from walk(entry, 0)


def _parents(entry: Entry) -> Iterator[tuple[str, str, int]]:
    inputs: dict[str, Any] = entry.origin.get("inputs", {})
    for name, value in inputs.items():
        found = list(_digests(value))
        if found:
            yield name, found[0], len(found)


def settings(entry: Entry) -> str:
    """What it was made with besides, as one line: parameters, seeds, names."""
    given = {name: value for name, value in entry.origin.get("inputs", {}).items() if not any(_digests(value)) and name != "env_versions"}
    return ", ".join(
        f"{name} {json.dumps(value)}" if isinstance(value, dict | list) else f"{name} {value}" for name, value in given.items()
    )


def _checked(prefix: str) -> str:
    start = prefix.removeprefix("sha256:").strip().lower()
    if len(start) < SHORTEST or set(start) - set("0123456789abcdef"):
        raise NotHere(f"{prefix}: give a digest or at least {SHORTEST} of its first digits (hexadecimal), as MLflow's runs show them")
    return start


def _digests(value: Any) -> Iterator[str]:
    """Those of artifacts, however deep in an input."""
    if isinstance(value, dict) and set(value) == {"kind", "digest"}:
        yield value["digest"]
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _digests(part)


def _in_store(used: dict[str, tuple[str, ...]]) -> Iterator[Entry]:
    for home in sorted(paths.store().glob("*-v*-*")):
        try:
            manifest = read_manifest(home)
        except IncompleteFolder:
            continue  # unfinished: its task makes it again
        artifact = artifact_of(manifest, home)
        origin = {name: manifest.get(name) for name in ("task", "version", "inputs", "created_by")}
        yield Entry(artifact, home, origin, used.get(artifact.digest, ()))


def _expert_sets(data: Path, used: dict[str, tuple[str, ...]]) -> Iterator[Entry]:
    for home in sorted(data.glob("*/")):
        try:
            manifest = read_manifest(home)
        except IncompleteFolder:
            continue
        if manifest.get("kind") in DATA:
            known = {name: manifest[name] for name in ("kind", "digest", "counts")}
            artifact = Artifact(path=paths.record(home), **known)
            yield Entry(artifact, home, {"task": "collect", "inputs": manifest.get("lineage", {})}, used.get(artifact.digest, ()))


def _base_models(used: dict[str, tuple[str, ...]]) -> Iterator[Entry]:
    from agentevol.models import model_digest

    for config in sorted(paths.root().glob("models/*/config.json")):
        artifact = Artifact(kind="model", path=paths.record(config.parent), digest=model_digest(config.parent))
        yield Entry(artifact, config.parent, {"task": "pretrain"}, used.get(artifact.digest, ()))


def _used() -> dict[str, tuple[str, ...]]:
    """For every digest the runs that show it, from their run.json."""
    found: dict[str, list[str]] = {}
    for record in sorted((paths.root() / "runs").glob("*/run.json")):
        if record.parent.name == "latest":
            continue
        for label, parts in json.loads(record.read_text(encoding="utf-8")).items():
            for what, part in parts.items():
                found.setdefault(part["sha256"], []).append(f"{record.parent.name}: {label} {what}")
    return {digest: tuple(uses) for digest, uses in found.items()}


def _missing(prefix: str, kinds: tuple[str, ...]) -> str:
    what, tool = ("model", TOOLS[1]) if kinds == MODEL else ("data set", TOOLS[0])
    return (
        f"{prefix}: no such {what} in runs/store, data/ or models/ here (`{tool} list` shows what there is). Where it was made:"
        f" agentevol data push URL {prefix}; then here: agentevol data pull URL {prefix}. Or run what made it again: the same commit and"
        " parameters (both are on the run in MLflow) make the same content"
    )
