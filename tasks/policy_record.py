"""A policy of a run with everything that belongs to it; what MLflow and the report are told of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agentevol.report.model import BC_BASE, BC_LARGE, iteration_label
from tasks.artifact import Artifact
from tasks.rollout import BILLED

BASE, LARGE = "bc-base", "bc-large"
"""Behavioural cloning by name, as it stands in trajectories, in MLflow and in Prefect."""
LABELS = {BASE: BC_BASE, LARGE: BC_LARGE}


def iteration_name(iteration: int) -> str:
    return f"iteration-{iteration}"


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """What the policy learnt from (in an iteration: what was explored and kept for it), and how it played AgentEval.

    `iteration` is 0 for behavioural cloning, BC-Large included. A hosted model has learnt from nothing here; its name is its label.
    """

    name: str
    iteration: int
    model: Artifact
    learnt_from: Artifact | None
    episodes: Artifact
    scores: Artifact
    explored: Artifact | None = None
    kept: Artifact | None = None

    @property
    def label(self) -> str:
        """As the table calls it: BC-Base, Iteration 1, BC-Large."""
        if self.learnt_from is None:
            return self.name
        return LABELS.get(self.name) or iteration_label(self.iteration)

    @property
    def success(self) -> float:
        """The overall success rate; 0 where no episode could be scored."""
        return float(self.scores.facts["overall"]["success"] or 0.0)

    def too_long(self) -> int:
        """Trajectories with more tokens than finetune.max_tokens, which were not learnt from."""
        return len(self.model.facts.get("too_long", ()))

    def dropped(self) -> dict[str, int]:
        """What the filter dropped, by reason."""
        return dict(self.kept.facts["dropped"]) if self.kept else {}

    def cut(self) -> dict[tuple[str, str], int]:
        """Episodes that something other than the world ended, by what ("context": the model's was full; "loop") and phase."""
        phases = {"explore": self.explored, "evaluate": self.episodes}
        return {(why, phase): count for phase, played in phases.items() if played for why, count in played.facts["cut"].items()}

    def left_out(self) -> str:
        """All of that in one line; empty where there was none of it."""
        parts = [f"{count} dropped ({reason})" for reason, count in self.dropped().items() if count]
        parts += [f"{self.too_long()} too long to learn from"] if self.too_long() else []
        parts += [f"{count} cut, {why} ({phase})" for (why, phase), count in self.cut().items() if count]
        return f"{self.label} left out: {', '.join(parts)}" if parts else ""

    def billed(self) -> str:
        """What an endpoint was asked for, in one line; empty where none was."""
        parts = [played.facts for played in (self.explored, self.episodes) if played and "requests" in played.facts]
        if not parts:
            return ""
        requests, repeated, read, wrote = (sum(facts[what] for facts in parts) for what in BILLED)
        return f"{self.label} was asked over the network: {requests:,} requests ({repeated:,} repeated), {read:,} tokens in, {wrote:,} out"

    def phases(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What was done for it, in order, with its cost."""
        if self.explored:
            yield "explore", self.explored.facts
        if self.learnt_from:
            yield "learn", self.model.facts
        yield "evaluate", self.episodes.facts
