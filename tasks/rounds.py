"""A policy of a run with everything that belongs to it; what MLflow and the report are told of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agentevol.report import BC_BASE, BC_LARGE, iteration_label
from tasks.artifact import Artifact

BASE, LARGE = "bc-base", "bc-large"
"""Behavioural cloning by name, as it stands in trajectories, in MLflow and in Prefect."""
LABELS = {BASE: BC_BASE, LARGE: BC_LARGE}


def iteration_name(iteration: int) -> str:
    return f"iteration-{iteration}"


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
        return LABELS.get(self.name) or iteration_label(self.iteration)

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
