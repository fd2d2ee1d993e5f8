"""The parameters of a run: what there is, what is allowed, and what holds where nothing is said.

Invariant: a `Params` that exists is valid. Imports nothing but pydantic, so that a command line stays quick.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from agentevol.settings.engines import BaselineParams, EngineParams
from agentevol.settings.types import (
    Count,
    Counts,
    Merge,
    Natural,
    Numbers,
    Positive,
    Precision,
    Rule,
    Section,
    Share,
    StartFrom,
    Temperature,
    Text,
    TopP,
)

_POLICIES = ("bc-base", "bc-large", "overall", "random", "random player")


class ModelParams(Section):
    """The base model. `base`: a folder, or a name on the Hugging Face hub. `num_threads`: of the processor; null leaves it to PyTorch."""

    base: Text = "models/base"
    num_threads: Count | None = None


class Limits(Section):
    """At most that many instructions per environment and split, taken from the front of the split's fixed order; null takes all."""

    train: Count | None = None
    train_large: Count | None = None
    explore: Count | None = None
    eval: Count | None = None


class DataParams(Section):
    """Where the datasets live, and how much of them is used."""

    folder: Text = "data"
    limits: Limits = Limits()


class RolloutParams(Section):
    """Playing episodes. `concurrency`: episodes at once; `max_retries`: of an episode that a fault ended; `max_new_tokens`: of one answer.

    `context_length`: tokens at which an episode is cut. `max_repeats`: cut an episode after so many times the same answer with the same
    outcome
    in a row (its policy is in a loop); null never does. `chunk_size`: episodes that one task explores, what a kill can cost at the most.
    `num_workers`: processes that share the slots where there is no GPU, a processor thread each. `servers`: environments that are played
    on a
    server (`agentevol serve`), by name: its URL.
    """

    concurrency: Count = 64
    num_workers: Count = 2
    max_new_tokens: Count = 128
    context_length: Count = 1280
    chunk_size: Count = 512
    max_retries: Natural = 1
    max_repeats: Annotated[int, Field(ge=2)] | None = 3
    servers: dict[str, Annotated[str, Field(pattern=r"^(agentgym\+)?https?://")]] = {}

    @field_validator("servers")
    @classmethod
    def _of_known_worlds(cls, servers: dict[str, str]) -> dict[str, str]:
        if servers:
            _all_known(servers)
        return servers


class ExploreParams(Section):
    """How exploration samples."""

    temperature: Temperature = 0.7
    top_p: TopP = 1.0


class EvolveParams(Section):
    """The loop: M `iterations`, K `samples` per instruction, and what each iteration learns from.

    `patience`: stop after so many iterations without a better score on AgentEval; null runs all M.
    """

    iterations: Count = 4
    samples: Counts = 1
    merge: Merge = "initial"
    start_from: StartFrom = "base"
    rule: Rule = "reward_weighted"
    max_kept_per_instruction: Count | None = None
    patience: Count | None = None

    def samples_at(self, iteration: int) -> int:
        """K of an iteration, counted from 1; a list shorter than M repeats its last entry."""
        return int(_at(self.samples, iteration - 1))


class FinetuneParams(Section):
    """Learning. `batch_tokens`: tokens per optimiser step; `warmup_ratio`: share of the steps; `max_tokens`: of one trajectory.

    `epochs`: passes over the data, so that who has more of it is taught longer. `max_steps`: optimiser steps of every policy, however much
    it learns from; where they are given, the epochs do not count.
    `micro_batch_tokens`: tokens that go through the model at once, null: a whole step's. `precision`: auto is bfloat16 where the processor
    or GPU multiplies it natively, else float32. `lora_rank`: learn adapters of that rank instead of all weights (extra `lora`),
    `lora_alpha`: their scale, null: twice the rank. `checkpoint_minutes`: what a kill can cost, null: the whole training.
    `accelerate_config`:
    a configuration of `accelerate config` (several processes, FSDP); null: this process.
    """

    epochs: Numbers = 8.0
    max_steps: Count | None = None
    learning_rate: Positive = 1.5e-3
    batch_tokens: Count = 4096
    micro_batch_tokens: Count | None = None
    warmup_ratio: Share = 0.1
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    max_grad_norm: Positive = 1.0
    precision: Precision = "auto"
    max_tokens: Count = 2048
    min_lr_ratio: Share = 0.1
    lora_rank: Count | None = None
    lora_alpha: Positive | None = None
    checkpoint_minutes: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = 5.0
    accelerate_config: Text | None = None

    def epochs_at(self, iteration: int) -> float | None:
        """Epochs of an iteration; 0 is behavioural cloning. A list shorter than M + 1 repeats its last entry. None: `max_steps` decide."""
        return None if self.max_steps else float(_at(self.epochs, iteration))


class EvaluateParams(Section):
    """How AgentEval is played, and what is scored beside the run's policies: BC-Large, and hosted models (`baselines`)."""

    temperature: Temperature = 0.0
    bc_large: bool = True
    baselines: list[BaselineParams] = []

    @field_validator("baselines")
    @classmethod
    def _each_with_its_name(cls, baselines: list[BaselineParams]) -> list[BaselineParams]:
        names = [baseline.name.lower() for baseline in baselines]
        taken = [name for name in names if names.count(name) > 1 or name in _POLICIES or name.startswith("iteration")]
        if taken:
            raise ValueError(f"baselines with a name of their own each; {taken[0]} is another's")
        return baselines


class GateParams(Section):
    """What stops bad data. `replay`: which expert trajectories are played again to be compared with their record.

    `min_coverage`: the share of the instructions of every environment and difficulty that the data must reach.
    """

    max_tokens: Count = 4096
    replay: Literal["none", "sample", "all"] = "sample"
    min_coverage: Share = 0.0


class PretrainParams(Section):
    """The embedded base model and how it is made. `hidden_size`, `num_layers`, `num_heads` (of width 64) with their
    `num_key_value_heads`, and `vocab_size` give its shape.

    `induction_steps` and `induction_tokens` (per step) bound the lesson in copying; `reading_steps` of `batch_tokens` are the rest.
    """

    seed: Natural = 0
    hidden_size: Count = 256
    num_layers: Count = 3
    num_heads: Count = 4
    num_key_value_heads: Count = 2
    vocab_size: Count = 2048
    context_length: Count = 2048
    induction_steps: Count = 6000
    induction_tokens: Count = 1536
    reading_steps: Count = 2000
    batch_tokens: Count = 4096
    learning_rate: Positive = 1e-3
    precision: Precision = "auto"

    @model_validator(mode="after")
    def _heads_share_evenly(self) -> PretrainParams:
        if self.num_heads % self.num_key_value_heads:
            raise ValueError(f"key_value_heads: {self.num_key_value_heads} given; allowed: a divisor of heads, {self.num_heads}")
        return self


class SweepParams(Section):
    """The grid of `agentevol sweep`: every combination is a run. `concurrency`: chains of runs side by side."""

    iterations: Annotated[list[Count], Field(min_length=1)] = [1, 2, 3, 4]
    samples: Annotated[list[Counts], Field(min_length=1)] = [1, 2, 3]
    seeds: Annotated[list[Natural], Field(min_length=1)] = [0]
    merge: Annotated[list[Merge], Field(min_length=1)] = ["initial"]
    start_from: Annotated[list[StartFrom], Field(min_length=1)] = ["base"]
    rule: Annotated[list[Rule], Field(min_length=1)] = ["reward_weighted"]
    concurrency: Count = 1

    @field_validator("iterations", "samples", "seeds", "merge", "start_from", "rule")
    @classmethod
    def _each_once(cls, values: list[Any]) -> list[Any]:
        if any(value in values[:index] for index, value in enumerate(values)):
            raise ValueError("a list of values, each once")
        return values


class Params(Section):
    """Everything a run depends on. The same Params on the same commit give the same datasets and scores.

    Between sections: an episode that was played to the end of its context must pass the gate and be short enough to be learnt from.
    """

    seed: Natural = 0
    environments: list[str] = ["babyai", "maze", "textcraft", "wordle"]
    model: ModelParams = ModelParams()
    data: DataParams = DataParams()
    rollout: RolloutParams = RolloutParams()
    engine: EngineParams = EngineParams()
    explore: ExploreParams = ExploreParams()
    evolve: EvolveParams = EvolveParams()
    finetune: FinetuneParams = FinetuneParams()
    evaluate: EvaluateParams = EvaluateParams()
    gate: GateParams = GateParams()
    sweep: SweepParams = SweepParams()
    pretrain: PretrainParams = PretrainParams()

    @model_validator(mode="after")
    def _what_is_played_fits(self) -> Params:
        for section, most in (("finetune", self.finetune.max_tokens), ("gate", self.gate.max_tokens)):
            if most < self.rollout.context_length:
                raise ValueError(
                    f"{section}.max_tokens: {most} given; allowed: at least rollout.context_length, {self.rollout.context_length} (or lower that one)"  # noqa: E501
                )
        return self

    @model_validator(mode="after")
    def _the_engine_is_whole(self) -> Params:
        engine, default = self.engine, EngineParams()
        if engine.kind == "openai" and engine.url is None:
            raise ValueError("engine.url: null given; allowed: an address such as http://127.0.0.1:8000/v1, where engine.kind is openai")
        of_a_server = [name for name in ("url", "model", "refresh") if engine.kind != "openai" and getattr(engine, name) is not None]
        if of_a_server:
            raise ValueError(f"engine.{of_a_server[0]}: given, but engine.kind is {engine.kind}; allowed: only where it is openai")
        if engine.kind == "transformers" and engine.options != default.options:
            raise ValueError(f"engine.options: {engine.options} given; allowed: none where engine.kind is transformers")
        return self

    @field_validator("environments")
    @classmethod
    def _each_known_once(cls, names: list[str]) -> list[str]:
        known = _all_known(names)
        if not names or len(set(names)) < len(names):
            raise ValueError(f"one or more of {', '.join(known)}, each once")
        return names


def _at(value: Any, index: int) -> Any:
    if index < 0:
        raise ValueError(f"no such iteration: index {index} in the schedule {value}")
    return value[min(index, len(value) - 1)] if isinstance(value, list) else value


def _all_known(names: Iterable[str]) -> list[str]:
    """The environments that there are. Raises ValueError where one of `names` is none of them."""
    from envs.registry import ENVIRONMENTS  # imports gymnasium, which a quick command line must not wait for

    known = sorted(ENVIRONMENTS)
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"names among {', '.join(known)}; {', '.join(unknown)} is not one")
    return known
