"""A policy of a run with everything that belongs to it: the input of MLflow's record and of the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from agentevol.data.exploration import ExplorationGroup
from agentevol.evaluation.selection import Rank
from agentevol.report.model import BC_BASE, BC_LARGE, ZERO_SHOT, iteration_label
from tasks.artifact import Artifact
from tasks.rollout import USAGE_FIELDS

BC_BASE_NAME, BC_LARGE_NAME, ZERO_SHOT_NAME = "bc-base", "bc-large", "zero-shot"
"""The names of the policies without iterations in trajectories, in MLflow and in Prefect."""
LABELS = {BC_BASE_NAME: BC_BASE, BC_LARGE_NAME: BC_LARGE, ZERO_SHOT_NAME: ZERO_SHOT}


def iteration_name(iteration: int) -> str:
    return f"iteration-{iteration}"


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """A policy's training data (of an iteration also the explored and kept episodes), its model, and its episodes and scores on AgentEval.

    `iteration` is 0 for behavioural cloning, including BC-Large. The base model zero-shot and a hosted model have no training data here;
    the name of a hosted model is its label. `exploration`: the summary of what was explored. `judged`: the explored episodes with a
    verifier's predictions; None without one. `validation_episodes`, `validation_scores`: None without a validation split, and for policies
    that are only compared with.
    """

    name: str
    iteration: int
    model: Artifact
    training_data: Artifact | None
    episodes: Artifact
    scores: Artifact
    explored: Artifact | None = None
    kept: Artifact | None = None
    judged: Artifact | None = None
    validation_episodes: Artifact | None = None
    validation_scores: Artifact | None = None
    exploration: Artifact | None = None

    @property
    def label(self) -> str:
        """The policy's name in tables: BC-Base, Iteration 1, BC-Large."""
        return LABELS.get(self.name) or (self.name if self.training_data is None else iteration_label(self.iteration))

    @property
    def success(self) -> float:
        """The overall success rate; 0 if no episode could be scored."""
        return float(self.scores.facts["overall"]["success"] or 0.0)

    @property
    def validation_rank(self) -> Rank:
        """The rank of a policy among those of its run. Without a scored episode on the validation split, a policy is below all others."""
        overall = self.validation_scores.facts["overall"] if self.validation_scores else {"n": 0}
        return (float(overall["success"]), float(overall["reward"])) if overall["n"] else (-inf, -inf)

    def exploration_groups(self) -> list[ExplorationGroup]:
        """The results of its exploration, per environment and difficulty; empty where nothing was explored."""
        return [ExplorationGroup(**group) for group in self.exploration.facts["groups"]] if self.exploration else []

    def too_long(self) -> int:
        """The number of trajectories with more tokens than finetune.max_tokens, which training left out."""
        return len(self.model.facts.get("too_long", ()))

    def dropped(self) -> dict[str, int]:
        """The number of episodes that the filter dropped, by reason."""
        return dict(self.kept.facts["dropped"]) if self.kept else {}

    def truncated(self) -> dict[tuple[str, str], int]:
        """The number of episodes cut short, by cause ("context": the model's context was full; "loop") and phase."""
        phases = {"explore": self.explored, "validate": self.validation_episodes, "evaluate": self.episodes}
        return {
            (cause, phase): count for phase, episodes in phases.items() if episodes for cause, count in episodes.facts["truncated"].items()
        }

    def exclusion_remark(self) -> str:
        """What was dropped, too long or truncated, in one line; empty if there is nothing to report."""
        parts = [f"{count} dropped ({reason})" for reason, count in self.dropped().items() if count]
        parts += [f"{self.too_long()} too long for training"] if self.too_long() else []
        parts += [f"{count} truncated by {cause} ({phase})" for (cause, phase), count in self.truncated().items() if count]
        return f"{self.label} exclusions: {', '.join(parts)}" if parts else ""

    def usage_remark(self) -> str:
        """The requests to an endpoint in one line; empty if there were none."""
        played = (self.explored, self.validation_episodes, self.episodes)
        facts = [episodes.facts for episodes in played if episodes and "requests" in episodes.facts]
        return f"{self.label} endpoint usage: {usage_text(facts)}" if facts else ""

    def phases(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The phases that led to its scores, in order, with their costs."""
        if self.explored:
            yield "explore", self.explored.facts
        if self.judged:
            yield "judge", self.judged.facts
        if self.training_data:
            yield "learn", self.model.facts
        if self.validation_episodes:
            yield "validate", self.validation_episodes.facts
        yield "evaluate", self.episodes.facts


@dataclass(frozen=True, slots=True)
class References:
    """The references of a run's policies: BC-Large, the base model zero-shot, hosted models, and the random policy's episodes
    and scores. None for what the run does not evaluate."""

    bc_large: PolicyRecord | None = None
    zero_shot: PolicyRecord | None = None
    hosted: Sequence[PolicyRecord] = ()
    random: tuple[Artifact, Artifact] | None = None


def usage_text(facts: list[dict[str, Any]]) -> str:
    """The sum of the requests to endpoints in words."""
    requests, repeated, tokens_in, tokens_out = (sum(phase[name] for phase in facts) for name in USAGE_FIELDS)
    return f"{requests:,} requests ({repeated:,} repeated), {tokens_in:,} tokens in, {tokens_out:,} out"
