"""Artifacts: the descriptions that tasks pass on, instead of the results themselves.

Invariant: `digest` depends on the content alone. Two artifacts with the same digest are interchangeable, wherever they were made.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from agentevol.data.artifact_folder import MANIFEST, IncompleteFolder, digest_json, read_manifest
from tasks import paths

PRODUCT = f"agentevol {version('agentevol')}"
SCHEMA = 2
"""The schema of the manifests in the store. Raised when task names, inputs or facts change their names or meaning."""
KEY_DIGITS = 16
_PARTS_OF_A_FOLDER = len(paths.STORE.parts) + 1
_SCHEMA_WITHOUT_NUMBER = 1
"""The first manifests had no schema number."""


class IncompatibleSchema(RuntimeError):
    """A result was written by a version of the product that this one cannot read; the message says what to do."""


class Artifact(BaseModel):
    """A dataset, a model or another result on disk.

    `path` is relative to the project (see paths.resolve). `counts` holds the rows per environment, if the artifact has rows. `facts` holds
    what the task measured (seconds, tokens, scores, dropped rows); the digest does not cover it.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    path: str
    digest: str
    counts: dict[str, int] = {}
    facts: dict[str, Any] = {}

    @property
    def folder(self) -> Path:
        return paths.resolve(self.path)

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


def artifact_of(manifest: Mapping[str, Any], folder: Path) -> Artifact:
    """The artifact that a manifest in the store describes.

    Raises IncompatibleSchema if another version of the product wrote it, IncompleteFolder if its path leads out of the folder.
    """
    schema = manifest.get("schema", _SCHEMA_WITHOUT_NUMBER)
    try:
        if schema == SCHEMA:
            artifact = Artifact.model_validate(manifest["artifact"])
            if not _is_inside(artifact.path, folder.name):
                raise IncompleteFolder(
                    f"{folder}: its {MANIFEST} names {artifact.path}, which is not in it. Remove the folder; its step runs again"
                )
            return artifact
    except (KeyError, ValidationError):
        schema = "unknown"
    raise IncompatibleSchema(
        f"{folder} was written by {manifest.get('created_by', 'an unknown version')} (schema {schema}; {PRODUCT} reads {SCHEMA}):"
        " use that version, or move runs/store away and run again; missing results are computed again"
    )


def result_folder(artifact: Artifact) -> PurePosixPath:
    """The result's place inside its folder of the store."""
    return PurePosixPath(*PurePosixPath(artifact.path).parts[_PARTS_OF_A_FOLDER:])


def is_in_store(artifact: Artifact) -> bool:
    """Whether it is a task's result, and not a folder of the user's, such as a base model."""
    return PurePosixPath(artifact.path).is_relative_to(paths.STORE.as_posix())


def store_folder(artifact: Artifact) -> Path:
    """The folder of the store that a task's result is in."""
    return paths.store() / PurePosixPath(artifact.path).relative_to(paths.STORE.as_posix()).parts[0]


def store_key(task: str, version: str, inputs: Any) -> str:
    """The name of a result's folder. `inputs`: the content of the inputs, as a JSON value."""
    digest = digest_json({"task": task, "version": version, "inputs": inputs})
    return f"{task.replace('_', '-')}-v{version}-{digest[:KEY_DIGITS]}"


def _is_inside(path: str, folder_name: str) -> bool:
    parts = PurePosixPath(path).parts
    return parts[:_PARTS_OF_A_FOLDER] == (*paths.STORE.parts, folder_name) and ".." not in parts


def check_store() -> None:
    """Raise IncompatibleSchema if the store belongs to another version of the product.

    One result is enough to tell: this check precedes every run and every pull, so a store never mixes schemas.
    """
    for file in paths.store().glob(f"[!.]*/{MANIFEST}"):
        try:
            artifact_of(read_manifest(file.parent), file.parent)
        except IncompleteFolder:
            continue  # unfinished: its task computes it again
        return
