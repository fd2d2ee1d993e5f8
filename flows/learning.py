"""The learning of an iteration, from the parameters: its rule, its training settings and its passes over the data.

Invariant: a rule that compares episodes continues the policy that explored. Behavioural cloning (iteration 0) has nothing to compare, so
it is the same with such a rule as with reward_weighted, and runs share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agentevol.settings.finetune import FinetuneParams
from agentevol.settings.load import SettingsError
from agentevol.settings.schema import Params
from agentevol.settings.types import StartFrom, schedule_value
from agentevol.training.precision import resolve_precision
from agentevol.training.rules import rule_class


@dataclass(frozen=True, slots=True)
class LearningPlan:
    """`epochs` is None where settings.max_steps decides; `options`: the arguments of the rule's class, None for its defaults."""

    rule: str
    settings: FinetuneParams
    epochs: float | None
    options: dict[str, Any] | None


def learning_plan(params: Params, iteration: int) -> LearningPlan:
    """How the policy of an iteration is trained; 0 is behavioural cloning."""
    compares = rule_class(params.evolve.rule).compares_episodes
    rule = "reward_weighted" if compares and iteration == 0 else params.evolve.rule
    # The resolved precision, so that the key of the result states how it was computed.
    settings = params.finetune.model_copy(update={"precision": resolve_precision(params.finetune.precision)})
    section = params.rule_params(rule)
    if section is None:
        return LearningPlan(rule, settings, params.finetune.epochs_at(iteration), None)
    learning_rate = section.learning_rate or settings.learning_rate / 10
    epochs = None if settings.max_steps else section.epochs
    return LearningPlan(rule, settings.model_copy(update={"learning_rate": learning_rate}), epochs, section.options())


def start_of(rule: str, start_from: StartFrom) -> StartFrom:
    """The model that an iteration starts from: with a rule that compares episodes always the previous policy, its reference."""
    return "previous" if rule_class(rule).compares_episodes else start_from


def records_logprobs(params: Params) -> bool:
    """Whether exploration records the log-probabilities of the sampled tokens, which an on-policy rule compares with."""
    chosen = params.explore.record_logprobs
    return rule_class(params.evolve.rule).is_on_policy if chosen is None else chosen


def check_rule(params: Params) -> None:
    """Raise SettingsError if the rule ignores a parameter that is set, or an iteration explores too few episodes for it to compare."""
    evolve, rule = params.evolve, rule_class(params.evolve.rule)
    _check_filter(params)
    if not rule.compares_episodes or (evolve.merge != "none" and not rule.is_on_policy):
        return  # one failure is enough beside an expert's success
    if evolve.is_adaptive and evolve.budget is None:
        raise SettingsError(
            f"evolve.budget: null given (one episode per instruction in the first iteration); allowed with evolve.samples adaptive and"
            f" evolve.rule {evolve.rule}, which compares the episodes of an instruction: at least two per instruction"
        )
    if any(schedule_value(evolve.samples, iteration) == 1 for iteration in range(evolve.iterations)):
        remedy = "" if rule.is_on_policy else " (or evolve.merge initial: the expert's successes are compared with one failure, too)"
        raise SettingsError(
            f"evolve.samples: {evolve.samples} given; allowed: at least 2 with evolve.rule {evolve.rule}, which compares an instruction's"
            f" episodes with each other{remedy}"
        )


def check_budget(params: Params, instructions: int) -> None:
    """Raise SettingsError if the budget of adaptive samples leaves a rule nothing to compare. `instructions`: those that are explored."""
    evolve, rule = params.evolve, rule_class(params.evolve.rule)
    compares_explored = rule.compares_episodes and (evolve.merge == "none" or rule.is_on_policy)
    if compares_explored and evolve.is_adaptive and evolve.budget is not None and evolve.budget <= instructions:
        raise SettingsError(
            f"evolve.budget: {evolve.budget} given, at most one episode for each of the {instructions} explored instructions in the first"
            f" iteration; allowed with evolve.samples adaptive and evolve.rule {evolve.rule}, which compares an instruction's episodes:"
            f" more, e.g. {2 * instructions}"
        )


def _check_filter(params: Params) -> None:
    """Raise SettingsError if the section `filter` defines what the rule does not use."""
    settings, rule = params.filter, rule_class(params.evolve.rule)
    given = f"filter.objective: {settings.objective}" if settings.objective else f"filter.reward: {settings.reward}"
    if rule.compares_episodes:
        if params.evolve.max_kept_per_instruction is not None:
            raise SettingsError(
                f"evolve.max_kept_per_instruction: {params.evolve.max_kept_per_instruction} given; allowed: null with evolve.rule"
                f" {params.evolve.rule}, which learns from every explored episode"
            )
        if not rule.uses_rewards and settings.objective_weights is not None:
            raise SettingsError(
                f"{given} given; allowed: filter.reward environment with evolve.rule {params.evolve.rule}, which compares successes with"
                f" failures and uses no reward (evolve.rule grpo learns from rewards)"
            )
        if settings.keep == "positive":
            raise SettingsError(
                f"filter.keep: positive given; allowed: success or all with evolve.rule {params.evolve.rule}, which learns from every"
                f" explored episode (filter.keep then decides only what is counted as kept)"
            )
        return
    if settings.reward == "progress" and settings.keep == "success":
        raise SettingsError(
            "filter.reward: progress given; allowed: with filter.keep positive or all, because success keeps only episodes whose progress"
            " is 1 (filter.reward: success gives successes the same weight)"
        )
    # A cap keeps the episodes with the highest reward; every prediction of the verifier is above 0.
    is_prediction = set(settings.objective_weights or ()) == {"learned"}
    chooses = settings.keep == "positive" and (not is_prediction or settings.min_reward > 0)
    selects = params.evolve.max_kept_per_instruction is not None or chooses
    if not rule.uses_rewards and settings.objective_weights is not None and not selects:
        raise SettingsError(
            f"{given} given, but nothing uses it: evolve.rule {params.evolve.rule} gives every kept episode the same weight; allowed:"
            f" evolve.rule reward_weighted, or evolve.max_kept_per_instruction to keep the episodes with the highest reward"
        )
