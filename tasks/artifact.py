"""What a task hands on: the description of a result, never the result itself.

Invariant: `digest` is of the content alone: two artifacts with the same digest are interchangeable, wherever they were made.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks import paths

PRODUCT = f"agentevol {version('agentevol')}"
SCHEMA = 1
"""Of the manifests in the store; those written before there were numbers are of schema 1 as well."""


class OtherSchema(RuntimeError):
    """A result was written by a version of the product that this one does not understand; the message says what to do."""


class Artifact(BaseModel):
    """A dataset, a model or another result on disk.

    `path` is relative to the project (see paths.resolve); `counts` are the rows per environment, where it has rows; `facts` are what its
    making found out (seconds, tokens, scores, what was dropped), which the digest leaves out.
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
    """What a manifest in the store describes. Raises OtherSchema where another version of the product has written it."""
    schema = manifest.get("schema", SCHEMA)
    try:
        if schema == SCHEMA:
            return Artifact.model_validate(manifest["artifact"])
    except (KeyError, ValidationError):
        schema = "unknown"
    raise OtherSchema(
        f"{folder} was written by {manifest.get('created_by', 'an unknown version')} (schema {schema}; {PRODUCT} reads {SCHEMA}):"
        " use that version, or move runs/store away and run again: what is missing is made anew"
    )
