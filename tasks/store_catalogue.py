"""A catalogue of the store and of data/: from a digest, as MLflow shows it, to the exact dataset or model.

Invariant: only reads, and hands out no folder whose files differ from its manifest.
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
MIN_PREFIX = 4
COMMANDS = ("agentevol data", "agentevol model")


class NotFound(RuntimeError):
    """No such content on this machine, or an ambiguous prefix; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A piece of content. `root`: the whole folder with the manifest; `folder`: the part of it that is the result. `origin`: the task,
    version and inputs that produced it. `uses`: the runs that refer to it, and as what ("M4-K1-s0-1a2b3c: Iteration 2 explored")."""

    artifact: Artifact
    root: Path
    origin: dict[str, Any]
    uses: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.artifact.folder

    @property
    def in_store(self) -> bool:
        return self.root.parent == paths.store()


def list_entries(kinds: tuple[str, ...], data: Path = Path("data")) -> list[Entry]:
    """One entry per digest: first those that runs refer to, last the others, such as the chunks of rollouts."""
    uses = _uses_by_digest()
    found: dict[str, Entry] = {}
    base_models = _base_models(uses) if set(kinds) & set(MODEL) else ()  # computing their digests takes a while for large ones
    for entry in [*base_models, *_data_sets(paths.resolve(data), uses), *_store_entries(uses)]:
        if entry.artifact.kind in kinds:
            digest = entry.artifact.digest
            if digest not in found or _is_own_input(found[digest]):
                found[digest] = entry
    return sorted(found.values(), key=lambda entry: (not entry.uses, entry.uses, entry.artifact.path))


def select(prefixes: Sequence[str], run: str = "") -> list[Entry]:
    """Results of the store: those whose digests begin with the prefixes, those that a run's report refers to, or all. Raises NotFound."""
    entries = list(_store_entries(_uses_by_digest()))
    if run:
        name = _run_name(run)
        entries = [entry for entry in entries if any(use.startswith(f"{name}: ") for use in entry.uses)]
        if not entries:
            raise NotFound(f"{run}: no run of that name in runs/, or nothing of it in the store; `agentevol data list` shows their names")
    if not prefixes:
        return entries
    digests = {resolve_prefix([entry.artifact.digest for entry in entries], prefix, "in runs/store") for prefix in prefixes}
    return [entry for entry in entries if entry.artifact.digest in digests]


def run_folders(run: str = "") -> list[Path]:
    """The folders of runs with a report: of the run of this name, or of all."""
    folders = [record.parent for record in sorted((paths.root() / "runs").glob("*/run.json"))]
    return [folder for folder in folders if folder.name != "latest" and (not run or folder.name == _run_name(run))]


def resolve_prefix(digests: Iterable[str], prefix: str, where: str) -> str:
    """The digest that begins with the prefix. Raises NotFound if there is none, or more than one."""
    start = _validated_prefix(prefix)
    matches = sorted({digest for digest in digests if digest.startswith(start)})
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise NotFound(f"{prefix}: no digest {where} begins with it")
    examples = ", ".join(digest[:16] for digest in matches[:4])
    raise NotFound(
        f"{prefix}: {len(matches)} digests {where} begin with it ({examples}{', …' if len(matches) > 4 else ''}): give more digits"
    )


def find(prefix: str, kinds: tuple[str, ...], data: Path = Path("data")) -> Entry:
    """The entry whose digest begins with the prefix. Raises NotFound if there is none, or more than one."""
    start = _validated_prefix(prefix)
    by_digest = {entry.artifact.digest: entry for entry in list_entries(kinds, data)}
    if not any(digest.startswith(start) for digest in by_digest):
        raise NotFound(_not_found_message(prefix, kinds))
    return by_digest[resolve_prefix(by_digest, prefix, "on this machine")]


def copy_content(entry: Entry, to: Path) -> None:
    """Copy the content into the new folder `to`. Raises IncompleteFolder if the store's files are damaged, FileExistsError."""
    if not is_complete(entry.root) and (entry.in_store or entry.artifact.kind in DATA):
        raise IncompleteFolder(
            f"{entry.root} differs from its manifest: files are missing or changed. Remove it; the run that produced it computes it again,"
            " or fetch it with: agentevol data pull"
        )
    if to.exists():
        raise FileExistsError(f"{to} already exists: give another --out")
    with atomic_folder(to) as out:
        shutil.copytree(entry.folder, out, dirs_exist_ok=True)


def ancestry(entry: Entry, data: Path = Path("data")) -> Iterator[tuple[int, str, str, Entry | None]]:
    """The inputs of the entry and, recursively, their inputs: (depth, name of the input, digest, its entry if it is on this machine).

    Of several artifacts in one input (the chunks of a rollout), the first stands for all, because they differ in nothing else.
    """
    by_digest = {other.artifact.digest: other for other in list_entries((*DATA, *MODEL), data)}
    visited: set[str] = set()

    def walk(child: Entry, depth: int) -> Iterator[tuple[int, str, str, Entry | None]]:
        for name, digest, count in _parents(child):
            if digest == child.artifact.digest:  # a subset that is the whole set: the same content
                continue
            parent = by_digest.get(digest)
            yield depth, f"{name} (1 of {count})" if count > 1 else name, digest, parent
            if parent and digest not in visited:
                visited.add(digest)
                yield from walk(parent, depth + 1)

    yield from walk(entry, 0)


def input_summary(entry: Entry) -> str:
    """The inputs that are no artifacts (parameters, seeds, names), in one line."""
    inputs = entry.origin.get("inputs", {})
    plain = {name: value for name, value in inputs.items() if name != "env_versions" and not any(input_digests(value))}
    return ", ".join(
        f"{name} {json.dumps(value)}" if isinstance(value, dict | list) else f"{name} {value}" for name, value in plain.items()
    )


def input_digests(value: Any) -> Iterator[str]:
    """The digests of the artifacts in an input, at any depth."""
    if isinstance(value, dict) and set(value) == {"kind", "digest"}:
        yield value["digest"]
    elif isinstance(value, dict | list):
        for nested in value.values() if isinstance(value, dict) else value:
            yield from input_digests(nested)


def _is_own_input(entry: Entry) -> bool:
    """A merge that added nothing. Another entry with the same content says where the content came from."""
    return entry.artifact.digest in input_digests(entry.origin.get("inputs", {}))


def _parents(entry: Entry) -> Iterator[tuple[str, str, int]]:
    inputs: dict[str, Any] = entry.origin.get("inputs", {})
    for name, value in inputs.items():
        digests = list(input_digests(value))
        if digests:
            yield name, digests[0], len(digests)


def _run_name(run: str) -> str:
    return run.removeprefix("runs/").strip("/")


def _validated_prefix(prefix: str) -> str:
    start = prefix.removeprefix("sha256:").strip().lower()
    if len(start) < MIN_PREFIX or set(start) - set("0123456789abcdef"):
        raise NotFound(f"{prefix}: give a digest or at least {MIN_PREFIX} of its first digits (hexadecimal), as MLflow's runs show them")
    return start


def _store_entries(uses: dict[str, tuple[str, ...]]) -> Iterator[Entry]:
    for root in sorted(paths.store().glob("*-v*-*")):
        try:
            manifest = read_manifest(root)
        except IncompleteFolder:
            continue  # unfinished: its task computes it again
        artifact = artifact_of(manifest, root)
        origin = {name: manifest.get(name) for name in ("task", "version", "inputs", "created_by")}
        yield Entry(artifact, root, origin, uses.get(artifact.digest, ()))


def _data_sets(data: Path, uses: dict[str, tuple[str, ...]]) -> Iterator[Entry]:
    for root in sorted(data.glob("*/")):
        try:
            manifest = read_manifest(root)
        except IncompleteFolder:
            continue
        if manifest.get("kind") in DATA:
            fields = {name: manifest[name] for name in ("kind", "digest", "counts")}
            artifact = Artifact(path=paths.record(root), **fields)
            yield Entry(artifact, root, {"task": "collect", "inputs": manifest.get("lineage", {})}, uses.get(artifact.digest, ()))


def _base_models(uses: dict[str, tuple[str, ...]]) -> Iterator[Entry]:
    from agentevol.models import model_digest

    for config in sorted(paths.root().glob("models/*/config.json")):
        artifact = Artifact(kind="model", path=paths.record(config.parent), digest=model_digest(config.parent))
        yield Entry(artifact, config.parent, {"task": "pretrain"}, uses.get(artifact.digest, ()))


def _uses_by_digest() -> dict[str, tuple[str, ...]]:
    """The runs that refer to each digest, from their run.json."""
    uses: dict[str, list[str]] = {}
    for folder in run_folders():
        for label, artifacts in json.loads((folder / "run.json").read_text(encoding="utf-8")).items():
            for name, artifact in artifacts.items():
                uses.setdefault(artifact["sha256"], []).append(f"{folder.name}: {label} {name}")
    return {digest: tuple(names) for digest, names in uses.items()}


def _not_found_message(prefix: str, kinds: tuple[str, ...]) -> str:
    noun, command = ("model", COMMANDS[1]) if kinds == MODEL else ("dataset", COMMANDS[0])
    return (
        f"{prefix}: no such {noun} in runs/store, data/ or models/ on this machine (`{command} list` shows what there is). On the machine"
        f" that has it: agentevol data push URL {prefix}; then here: agentevol data pull URL {prefix}. Or repeat the run: the same commit"
        " and parameters (both are recorded with the run in MLflow) produce the same content"
    )
