"""What a task hands on: the description of a result, never the result itself.

Invariant: `digest` is of the content alone: two artifacts with the same digest are interchangeable, wherever they were made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks import places


class Artifact(BaseModel):
    """A dataset, a model or another result on disk.

    `path` is relative to the project (see places.resolve); `counts` are the rows per environment, where it has rows; `facts` are what its
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
        return places.resolve(self.path)

    @property
    def rows(self) -> int:
        return sum(self.counts.values())
