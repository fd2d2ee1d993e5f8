"""The names and values of the metrics of a run in MLflow.

Invariant: the part of a name before its last slash is a section of charts in MLflow, so metrics that are compared with each other share it.
A count of something unusual (dropped, too long, truncated, errors of one environment) is logged only where it is not zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agentevol.data.exploration import ExplorationGroup
from agentevol.evaluation.scores import success_with_errors_failed
from agentevol.report.model import RANDOM
from tasks.artifact import Artifact
from tasks.policy_record import BC_LARGE_NAME, PolicyRecord
from tasks.rollout import USAGE_FIELDS

SUCCESS, REWARD, PROGRESS, ERRORS, LOSS = "success", "reward", "progress", "errors", "loss"
BOUNDS = ("low", "high")
VERIFIER_METRICS = ("auc", "auc_low", "auc_high", "rounds_auc", "brier", "base_brier", "calibration_error")
BC_LARGE_PREFIX = BC_LARGE_NAME.replace("-", "_")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_\-. ]+")
"""What MLflow allows in no name, and the slash, which ends a section."""
PHASE_NAMES = {"explore": "exploration", "judge": "verification", "learn": "training", "validate": "validation", "evaluate": "evaluation"}


def policy_metrics(policy: PolicyRecord) -> dict[str, float]:
    """The metrics of BC-Base or of an iteration, for the step of its iteration: scores with their intervals, cost, data."""
    metrics = success_metrics(policy.scores, SUCCESS)
    for env, score in policy.scores.facts.items():
        metrics |= {f"{SUCCESS}_{bound}/{env}": score[f"success_{bound}"] for bound in BOUNDS}
        metrics[f"{REWARD}/{env}"] = score["reward"]
        metrics[f"{PROGRESS}/{env}"] = score.get(PROGRESS)
        metrics |= {f"{PROGRESS}_{bound}/{env}": score.get(f"{PROGRESS}_{bound}") for bound in BOUNDS}
        metrics[f"rounds_per_success/{env}"] = _rounds_per_success(score)
        if score["errors"] or env == "overall":
            metrics[f"{ERRORS}/{env}"] = score["errors"]
        metrics[f"{SUCCESS}_errors_failed/{env}"] = success_with_errors_failed(score)
    if policy.validation_scores:
        metrics |= success_metrics(policy.validation_scores, f"{SUCCESS}_validation")
    metrics |= _cost_metrics(policy) | _unusual_counts(policy)
    if policy.training_data:
        metrics["training/trajectories"] = policy.training_data.rows
    if policy.judged:
        for env, quality in policy.judged.facts["quality"].items():
            metrics |= {f"verifier_{name}/{env}": quality[name] for name in VERIFIER_METRICS}
    if policy.explored and policy.kept:
        metrics |= {"exploration/episodes": policy.explored.rows, "exploration/kept": policy.kept.rows}
        if errors := policy.explored.facts["errors"]:
            metrics["exploration/errors"] = errors
    metrics |= _exploration_metrics(policy.exploration_groups())
    return _known(metrics)


def _rounds_per_success(score: Mapping[str, Any]) -> float | None:
    """All rounds divided by the successes; None without a success."""
    successes = score.get("successes")
    return score["rounds"] * score["n"] / successes if successes else None


def bc_large_metrics(policy: PolicyRecord) -> dict[str, float]:
    """The scores and the training time of BC-Large, which belongs to no iteration: single values."""
    return _known(
        success_metrics(policy.scores, f"{SUCCESS}_{BC_LARGE_PREFIX}") | {f"time/{BC_LARGE_PREFIX}": policy.model.facts["seconds"]}
    )


def hosted_metrics(policy: PolicyRecord) -> dict[str, float]:
    """The scores and the usage of a hosted model, as single values under its name."""
    usage = {f"endpoint_baseline/{policy.name}/{name}": policy.episodes.facts.get(name) for name in USAGE_FIELDS}
    return _known(success_metrics(policy.scores, f"{SUCCESS}_baseline/{policy.name}") | usage)


def random_metrics(scores: Artifact) -> dict[str, float]:
    """The random policy's success, as single values."""
    return _known(success_metrics(scores, f"{SUCCESS}_{RANDOM}"))


def zero_shot_metrics(policy: PolicyRecord) -> dict[str, float]:
    """The success of the base model before any training, as single values."""
    return _known(success_metrics(policy.scores, f"{SUCCESS}_zero_shot"))


def final_metrics(bc_base: PolicyRecord, selected: PolicyRecord, bc_large: PolicyRecord | None) -> dict[str, float]:
    """The gains of the selected policy, as single values: against BC-Base and against BC-Large; and its iteration."""
    gains = {"gain/over_bc_base": selected.success - bc_base.success, "gain/selected_iteration": float(selected.iteration)}
    if bc_large:
        gains[f"gain/over_{BC_LARGE_PREFIX}"] = selected.success - bc_large.success
    return gains


def success_metrics(scores: Artifact, prefix: str) -> dict[str, Any]:
    return {f"{prefix}/{env}": score["success"] for env, score in scores.facts.items()}


def _exploration_metrics(groups: Sequence[ExplorationGroup]) -> dict[str, float]:
    """Episodes and successes of the exploration, by difficulty and in all."""
    metrics: dict[str, float] = {}
    for group in groups:
        place = f"{group.env}/{_NOT_IN_NAMES.sub('_', group.difficulty) or 'none'}"
        metrics[f"exploration_episodes/{place}"] = group.episodes
        metrics[f"exploration_coverage/{place}"] = group.covered / group.instructions
    if groups:
        names = ("instructions", "sampled", "covered", "without_expert", "covered_without_expert")
        metrics |= {f"exploration/{name}": sum(getattr(group, name) for group in groups) for name in names}
    return metrics


def _cost_metrics(policy: PolicyRecord) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    for phase, facts in policy.phases():
        name = PHASE_NAMES[phase]
        metrics |= {f"{quantity}/{name}": facts.get(fact) for quantity, fact in (("time", "seconds"), ("tokens", "tokens"))}
        metrics |= {f"endpoint_{name}/{usage}": facts.get(usage) for usage in USAGE_FIELDS}
    facts = policy.model.facts if policy.training_data else {}
    metrics |= {f"training/{name}": count for name, count in facts.get("rule_counts", {}).items()}
    return metrics | {"tokens/with_loss": facts.get("trained_tokens"), "training/steps": facts.get("steps")}


def _unusual_counts(policy: PolicyRecord) -> dict[str, Any]:
    counts: dict[str, Any] = {"training/too_long": policy.too_long()}
    counts |= {f"exploration/dropped_{reason.replace(' ', '_')}": count for reason, count in policy.dropped().items()}
    counts |= {f"{PHASE_NAMES[phase]}/truncated_{cause}": count for (cause, phase), count in policy.truncated().items()}
    return {name: count for name, count in counts.items() if count}


def _known(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if value is not None}
