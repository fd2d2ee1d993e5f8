"""The parameters of the loop and of its sweeps. Imports nothing but pydantic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from agentevol.settings.rules import Rule
from agentevol.settings.types import ADAPTIVE, Count, Merge, Samples, Section, Seed, StartFrom, parameter, schedule_value


class EvolveParams(Section):
    """The loop: its iterations, how they explore, and the data and rule of their learning."""

    iterations: Count = parameter(4, "M: iterations of exploration and learning.")
    samples: Samples = parameter(
        1,
        "K: episodes per instruction. One number, a list of M numbers, e.g. [3, 2, 1, 1], or adaptive (`budget` episodes, most of them"
        " where success is uncertain).",
    )
    budget: Count | None = parameter(
        None,
        "Episodes per iteration, if `samples` is adaptive; null: one per explored instruction, as with K = 1.",
        added_later=True,
    )
    merge: Merge = parameter(
        "initial",
        "The data that the kept episodes are merged with: initial (the expert set), cumulative (also all earlier iterations), none.",
    )
    start_from: StartFrom = parameter(
        "base",
        "The model that each iteration fine-tunes: base (the base model) or previous (the previous policy; dpo and grpo always use it).",
    )
    rule: Rule = parameter(
        "reward_weighted",
        "The learning rule: reward_weighted (Eq. 8 of the paper), threshold (all kept episodes have the same weight), dpo (compares"
        " successes with failures), or grpo (compares each episode with the others of its instruction).",
    )
    max_kept_per_instruction: Count | None = parameter(
        None, "At most this many kept episodes per instruction and iteration; null: all.", formerly="keep_per_instruction"
    )
    patience: Count | None = parameter(
        None, "Early stopping: stop after this many iterations without a better score on the validation split; null: run all iterations."
    )

    @property
    def is_adaptive(self) -> bool:
        """Whether earlier results decide how often an instruction is explored."""
        return self.samples == ADAPTIVE

    def samples_at(self, iteration: int) -> int:
        """K of an iteration, counted from 1. Raises ValueError where samples is adaptive, because there is no K."""
        return int(schedule_value(self.samples, iteration - 1))


class SweepParams(Section):
    """The grid of `agentevol sweep`: every combination is a run; what runs have in common is computed once."""

    iterations: Annotated[list[Count], Field(min_length=1)] = parameter([1, 2, 3, 4], "Values of M.")
    samples: Annotated[list[Samples], Field(min_length=1)] = parameter([1, 2, 3], "Values of K, e.g. [1, 3, adaptive].")
    seeds: Annotated[list[Seed], Field(min_length=1)] = parameter([0], "Seeds.")
    merge: Annotated[list[Merge], Field(min_length=1)] = parameter(["initial"], "Values of evolve.merge.")
    start_from: Annotated[list[StartFrom], Field(min_length=1)] = parameter(["base"], "Values of evolve.start_from.")
    rule: Annotated[list[Rule], Field(min_length=1)] = parameter(["reward_weighted"], "Values of evolve.rule.")
    concurrency: Count = parameter(
        1, "How many chains (all runs of one setting and one seed) run at the same time.", effect="none", formerly="at_once"
    )

    @field_validator("iterations", "samples", "seeds", "merge", "start_from", "rule")
    @classmethod
    def _each_once(cls, values: list[Any]) -> list[Any]:
        if any(value in values[:index] for index, value in enumerate(values)):
            raise ValueError("a list of values, each once")
        return values
