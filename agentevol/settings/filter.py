"""The parameters of the filter of explored episodes. Imports nothing but pydantic."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agentevol.settings.types import NonNegative, Positive, Section, parameter

Keep = Literal["success", "positive", "all"]
Reward = Literal["environment", "success", "progress", "learned"]
Objective = Annotated[
    dict[Literal["success", "progress", "rounds", "reward", "learned"], Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1)
]


class FilterParams(Section):
    """Which explored episodes a policy learns from."""

    keep: Keep = parameter(
        "success",
        "The episodes to keep: success (by the environment's rule), positive (a reward above 0, so also partial rewards) or all.",
        added_later=True,
    )
    min_reward: NonNegative = parameter(
        0.0,
        "The lowest reward that `keep: positive` keeps, e.g. 0.5 with `reward: learned`, because a verifier never predicts exactly 0.",
        added_later=True,
    )
    deduplicate: bool = parameter(
        True,
        "Keep only one of several episodes with the same answers; false: keep all of them (when filtering and when merging).",
        added_later=True,
    )
    reward: Reward = parameter(
        "environment",
        "The reward of explored episodes, for `keep: positive` and the learning rule: environment (its own), success (1 or 0), progress"
        " (how far the episode came, 0 to 1; use it with `keep: positive`) or learned (the probability of success that a verifier predicts"
        " from the text). Behavioural cloning always uses the environment's.",
        added_later=True,
    )
    objective: Objective | None = parameter(
        None,
        "A weighted sum that replaces `reward`: weights of success, progress, rounds, learned and reward (the environment's),"
        " e.g. {success: 1, rounds: -0.01}. evolve.max_kept_per_instruction then keeps the best episodes instead of the first.",
        added_later=True,
    )

    verifier_penalty: Positive = parameter(
        30.0,
        "The L2 penalty of the verifier's logistic regression, for `reward: learned` or an `objective` with learned.",
        added_later=True,
    )

    @model_validator(mode="after")
    def _one_reward(self) -> Self:
        if self.objective is not None and self.reward != "environment":
            raise ValueError(f"reward is {self.reward} and objective is {self.objective}; allowed: one of them (reward: environment)")
        if self.objective is not None and not any(self.objective.values()):
            raise ValueError("objective: every weight is 0; allowed: at least one that is not")
        if self.min_reward and self.keep != "positive":
            raise ValueError(f"min_reward is {self.min_reward:g} and keep is {self.keep}; allowed: min_reward only with keep: positive")
        if self.uses_verifier and self.keep == "success":
            raise ValueError("keep: success uses the true outcome, but the reward is learned; allowed: positive, all")
        return self

    @property
    def uses_verifier(self) -> bool:
        """Whether a verifier judges the explored episodes."""
        return "learned" in (self.objective_weights or {})

    @property
    def objective_weights(self) -> dict[str, float] | None:
        """What the reward is made of (agentevol.data.episode_reward); None for the environment's own reward."""
        if self.objective is not None:
            return {str(name): float(weight) for name, weight in sorted(self.objective.items())}
        return None if self.reward == "environment" else {self.reward: 1.0}


DEFAULT_FILTER = FilterParams()
