"""The learning rules by name, the type of a parameter that names one, and the parameters of those that have some.

Invariant: a rule is one file and one line here: its name, and the class in its file. Imports nothing but pydantic; the class is imported
when it is used (agentevol/training/rules). The fields of a rule's section are the arguments of its class, besides those of RuleParams.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from agentevol.settings.finetune import LossAggregation
from agentevol.settings.types import Count, NonNegative, Positive, Section, parameter

RULES: dict[str, str] = {
    "reward_weighted": "agentevol.training.rules.reward_weighted:RewardWeighted",
    "threshold": "agentevol.training.rules.threshold:Threshold",
    "dpo": "agentevol.training.rules.dpo:DPO",
    "grpo": "agentevol.training.rules.grpo:GRPO",
}


def check_known_rule(name: str) -> str:
    """The name. Raises ValueError where no rule has it."""
    if name not in RULES:
        raise ValueError(" or ".join(filter(None, [", ".join(list(RULES)[:-1]), list(RULES)[-1]])))
    return name


Rule = Annotated[str, AfterValidator(check_known_rule), Field(json_schema_extra={"enum": list(RULES)})]  # type: ignore[dict-item]


class RuleParams(Section):
    """What the sections of rules that continue the policy which explored have in common."""

    learning_rate: Positive | None = parameter(
        None, "Peak learning rate; null: a tenth of finetune.learning_rate, because the policy is already trained."
    )
    epochs: Positive = parameter(1.0, "Passes over the data; finetune.max_steps overrides it.")

    def options(self) -> dict[str, Any]:
        """The arguments of the rule's class."""
        return self.model_dump(mode="json", exclude=set(RuleParams.model_fields))


class DpoParams(RuleParams):
    """The rule dpo: pairs of a success and a failure of the same instruction."""

    beta: Positive = parameter(
        0.1, "β, the factor of the log-ratios in DPO's loss. A higher value holds the policy closer to the one that explored."
    )
    likelihood_weight: NonNegative = parameter(1.0, "Weight of the success's negative log-likelihood per token; 0 is DPO alone.")
    max_pairs_per_instruction: Count | None = parameter(4, "At most this many pairs per instruction; null: all.")
    length_normalized: bool = parameter(
        False,
        "Average log-ratios over the tokens of a trajectory instead of adding them up, so that long failures count no more than short"
        " successes. Such a margin is smaller, so set a higher beta, e.g. 0.1 times the mean number of tokens in the answers of a"
        " trajectory.",
    )
    epochs: Positive = parameter(3.0, "Passes over the pairs; finetune.max_steps overrides it.")


class GrpoParams(RuleParams):
    """The rule grpo: advantages over the samples of an instruction."""

    clip_range: Positive = parameter(0.2, "ε: the ratio of a token's probabilities is clipped to between 1 - ε and 1 + ε.")
    kl_coefficient: NonNegative = parameter(0.0, "Weight of the KL divergence from the policy that explored.")
    scale_rewards: bool = parameter(True, "Divide advantages by the standard deviation of their instruction's rewards.")
    loss_aggregation: LossAggregation = parameter(
        "sequence_mean",
        "How token losses are combined, whatever finetune.loss_aggregation says: sequence_mean (all episodes count the same) or"
        " token_mean (all tokens count the same, so failures, which are longer, count more than successes).",
    )
