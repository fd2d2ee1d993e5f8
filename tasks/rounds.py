"""A policy of a run with everything that belongs to it; what MLflow and the report are told of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tasks.artifact import Artifact


@dataclass(frozen=True, slots=True)
class Round:
    """What the policy learnt from (in an iteration: what was explored and kept for it), and how it played AgentEval.

    `iteration` is 0 for behavioural cloning, BC-Large included.
    """

    name: str
    iteration: int
    model: Artifact
    learnt_from: Artifact
    episodes: Artifact
    scores: Artifact
    explored: Artifact | None = None
    kept: Artifact | None = None

    @property
    def label(self) -> str:
        """As the table calls it: BC-Base, Iteration 1, BC-Large."""
        return {"bc-base": "BC-Base", "bc-large": "BC-Large"}.get(self.name, f"Iteration {self.iteration}")

    @property
    def success(self) -> float:
        """The overall success rate; 0 where no episode could be scored."""
        return float(self.scores.facts["overall"]["success"] or 0.0)

    def phases(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What was done for it, in order, with its cost."""
        if self.explored:
            yield "explore", self.explored.facts
        yield "learn", self.model.facts
        yield "evaluate", self.episodes.facts
