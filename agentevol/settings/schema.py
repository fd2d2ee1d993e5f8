"""The parameters of a run: every key with its type, default, meaning and effect.

Invariant: a `Params` object that exists is valid. Imports nothing but pydantic, so that the command line starts quickly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from agentevol.settings.data import DataParams
from agentevol.settings.engines import BaselineParams, EngineParams
from agentevol.settings.finetune import FinetuneParams
from agentevol.settings.pretrain import PretrainParams
from agentevol.settings.types import (
    Count,
    Counts,
    Merge,
    Natural,
    Positive,
    Precision,
    Rule,
    Section,
    Seed,
    Share,
    StartFrom,
    Temperature,
    Text,
    TopP,
    check_server_url,
    parameter,
    schedule_value,
)

_RESERVED_NAMES = ("bc-base", "bc-large", "overall", "random", "random player", "zero-shot")
_RESERVED_TEMPLATE_VARIABLES = (
    *("messages", "conversation", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize", "tools", "documents"),
    *("padding", "truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs"),
    *("sanitize_control_tokens", "strftime_now", "raise_exception"),
)
"""Names that already have a meaning when a template is rendered."""
_ServerUrl = Annotated[str, AfterValidator(check_server_url)]


class ModelParams(Section):
    """The base model."""

    base: Text = parameter("models/base", "A model folder, or the name of a causal language model on the Hugging Face hub.")
    num_threads: Count | None = parameter(
        None, "Processor threads of the model; null lets PyTorch decide.", effect="numerics", formerly="threads"
    )
    chat_template_kwargs: dict[str, Any] = parameter(
        {}, "Variables of the model's chat template, e.g. {enable_thinking: false} (Qwen 3), {date_string: 26 Jul 2024} (Llama 3)."
    )

    @field_validator("chat_template_kwargs")
    @classmethod
    def _template_variables(cls, variables: dict[str, Any]) -> dict[str, Any]:
        for name, value in variables.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name in _RESERVED_TEMPLATE_VARIABLES:
                raise ValueError(f"names of variables of the template, e.g. enable_thinking; {name} is not one")
            if not _is_json(value):
                raise ValueError(f"texts, numbers, true, false, null, lists and mappings; {name} has another value")
        return variables


class RolloutParams(Section):
    """How episodes are played."""

    concurrency: Count = parameter(64, "Episodes played at the same time.", effect="numerics", formerly="slots")
    num_workers: Count = parameter(
        2,
        "Processes that share these episodes, with one processor thread each. A GPU uses one process.",
        effect="numerics",
        formerly="workers",
    )
    max_new_tokens: Count = parameter(128, "Tokens of one answer at most.")
    context_length: Count = parameter(
        1280, "Tokens of one episode at most; a longer episode is cut (status: truncated).", formerly="context"
    )
    precision: Precision = parameter(
        "auto",
        "Number format in which `transformers` plays: auto is float32 on a CPU, the model's own 16-bit type (or bfloat16) on a GPU.",
        effect="numerics",
    )
    kv_cache_gib: Positive | None = parameter(
        None,
        "GiB of GPU memory for the KV cache of `transformers`; null: 80 % of what the weights leave free. It is taken as episodes grow.",
        effect="numerics",
    )
    chunk_size: Count = parameter(512, "Episodes per exploration task: what a kill can cost at most.", effect="none", formerly="chunk")
    max_repeats: Annotated[int, Field(ge=2)] | None = parameter(
        3, "Cut an episode when the same answer has the same outcome this many times in a row; null never does.", formerly="repeats"
    )
    max_retries: Natural = parameter(
        1, "Retries of an episode that ended in an error; an error never counts as a failure.", effect="none", formerly="retries"
    )
    step_timeout: Positive | None = parameter(
        120.0,
        "Seconds that reset or one step of an environment in this process may take before the episode ends in an error; null has no limit.",
        effect="none",
    )
    servers: dict[str, _ServerUrl] = parameter(
        {},
        "Environments played on a server (`agentevol serve`), by name: its URL, e.g. {textcraft: http://127.0.0.1:36001}.",
        effect="numerics",
    )

    @field_validator("servers")
    @classmethod
    def _known_environments(cls, servers: dict[str, str]) -> dict[str, str]:
        if servers:
            _check_known(servers)
        return servers


class ExploreParams(Section):
    """How exploration samples actions."""

    temperature: Temperature = parameter(0.7, "Sampling temperature; 0 is greedy.")
    top_p: TopP = parameter(1.0, "Nucleus sampling: keep the most likely tokens that together have this probability.")


class EvolveParams(Section):
    """The loop: how often it explores, and what each iteration learns from."""

    iterations: Count = parameter(4, "M: iterations of exploration and learning.")
    samples: Counts = parameter(1, "K: episodes per instruction; one number, or a list of M numbers, e.g. [3, 2, 1, 1].")
    merge: Merge = parameter(
        "initial",
        "What the explored data is merged with: initial (the expert set), cumulative (that and all earlier iterations), none.",
    )
    start_from: StartFrom = parameter("base", "The model that each iteration fine-tunes: the base model, or the previous policy.")
    rule: Rule = parameter(
        "reward_weighted", "The learning rule: reward_weighted (Eq. 8 of the paper), or threshold (fine-tuning on successes)."
    )
    max_kept_per_instruction: Count | None = parameter(
        None, "Successes kept per instruction and iteration at most; null keeps all.", formerly="keep_per_instruction"
    )
    patience: Count | None = parameter(
        None, "Early stopping: end after this many iterations without a better score on the validation split; null runs all iterations."
    )

    def samples_at(self, iteration: int) -> int:
        """K of an iteration, counted from 1."""
        return int(schedule_value(self.samples, iteration - 1))


class EvaluateParams(Section):
    """How AgentEval is played, and what is scored beside the run's own policies."""

    temperature: Temperature = parameter(0.0, "Sampling temperature; 0 is greedy.")
    bc_large: bool = parameter(True, "Train and score BC-Large as well.", effect="extra", formerly="large")
    zero_shot: bool = parameter(True, "Score the base model before any training as well.", effect="extra")
    random: bool = parameter(True, "Score a player of random actions as well, where environments list their actions.", effect="extra")
    baselines: list[BaselineParams] = parameter(
        [],
        "Hosted models as columns of the table, e.g. [{name: GPT-4-Turbo, url: https://.../v1, model: gpt-4-turbo}].",
        effect="extra",
    )

    @field_validator("baselines")
    @classmethod
    def _unique_names(cls, baselines: list[BaselineParams]) -> list[BaselineParams]:
        names = [baseline.name.lower() for baseline in baselines]
        taken = [name for name in names if names.count(name) > 1 or name in _RESERVED_NAMES or name.startswith("iteration")]
        if taken:
            raise ValueError(f"baselines with a name of their own each; {taken[0]} is another's")
        return baselines


class GateParams(Section):
    """What stops bad training data."""

    max_tokens: Count = parameter(4096, "A longer trajectory stops the run.", effect="extra")
    replay: Literal["none", "sample", "all"] = parameter(
        "sample", "Expert trajectories that are replayed and compared: none, sample (25 per environment), all.", effect="extra"
    )
    min_coverage: Share = parameter(0.0, "Share of the instructions that must be covered, per environment and difficulty.", effect="extra")


class SweepParams(Section):
    """The grid of `agentevol sweep`: every combination is a run; what runs have in common is computed once."""

    iterations: Annotated[list[Count], Field(min_length=1)] = parameter([1, 2, 3, 4], "Values of M.")
    samples: Annotated[list[Counts], Field(min_length=1)] = parameter([1, 2, 3], "Values of K.")
    seeds: Annotated[list[Seed], Field(min_length=1)] = parameter([0], "Seeds.")
    merge: Annotated[list[Merge], Field(min_length=1)] = parameter(["initial"], "Values of evolve.merge.")
    start_from: Annotated[list[StartFrom], Field(min_length=1)] = parameter(["base"], "Values of evolve.start_from.")
    rule: Annotated[list[Rule], Field(min_length=1)] = parameter(["reward_weighted"], "Values of evolve.rule.")
    concurrency: Count = parameter(1, "Series of runs that are computed at the same time.", effect="none", formerly="at_once")

    @field_validator("iterations", "samples", "seeds", "merge", "start_from", "rule")
    @classmethod
    def _each_once(cls, values: list[Any]) -> list[Any]:
        if any(value in values[:index] for index, value in enumerate(values)):
            raise ValueError("a list of values, each once")
        return values


class Params(Section):
    """All parameters of a run. The same Params on the same commit give the same datasets and scores.

    Rule between sections: an episode that fills its context must pass the gate and be short enough to learn from.
    """

    seed: Seed = parameter(0, "The seed of everything random.")
    environments: list[str] = parameter(["babyai", "maze", "textcraft", "wordle"], "The environments of the run, by name.")
    model: ModelParams = parameter(ModelParams(), "The base model.")
    data: DataParams = parameter(DataParams(), "The datasets.")
    rollout: RolloutParams = parameter(RolloutParams(), "How episodes are played.")
    engine: EngineParams = parameter(EngineParams(), "The inference engine of the run's policies.")
    explore: ExploreParams = parameter(ExploreParams(), "How exploration samples.")
    evolve: EvolveParams = parameter(EvolveParams(), "The loop.")
    finetune: FinetuneParams = parameter(FinetuneParams(), "Training.")
    evaluate: EvaluateParams = parameter(EvaluateParams(), "Evaluation.")
    gate: GateParams = parameter(GateParams(), "The checks of training data.")
    sweep: SweepParams = parameter(SweepParams(), "The grid of `agentevol sweep`.")
    pretrain: PretrainParams = parameter(PretrainParams(), "The embedded base model; only `make base-model` reads this.")

    @model_validator(mode="after")
    def _context_fits(self) -> Params:
        for section, most in (("finetune", self.finetune.max_tokens), ("gate", self.gate.max_tokens)):
            if most < self.rollout.context_length:
                raise ValueError(
                    f"{section}.max_tokens: {most} given; allowed: at least rollout.context_length,"
                    f" {self.rollout.context_length} (or lower that one)"
                )
        return self

    @model_validator(mode="after")
    def _schedules_fit(self) -> Params:
        iterations = self.evolve.iterations
        _check_length("evolve.samples", self.evolve.samples, iterations, "one per iteration (evolve.iterations)")
        if self.finetune.max_steps is None:
            rounds = "one for behavioural cloning and one per iteration (evolve.iterations)"
            _check_length("finetune.epochs", self.finetune.epochs, iterations + 1, rounds)
        for samples in self.sweep.samples:
            for count in self.sweep.iterations:
                _check_length("sweep.samples", samples, count, "one per iteration, for every value of sweep.iterations")
        return self

    @model_validator(mode="after")
    def _engine_is_complete(self) -> Params:
        engine, default = self.engine, EngineParams()
        if engine.kind == "openai" and engine.url is None:
            raise ValueError("engine.url: null given; allowed: an address such as http://127.0.0.1:8000/v1, where engine.kind is openai")
        server_only = [name for name in ("url", "model", "weight_sync") if engine.kind != "openai" and getattr(engine, name) is not None]
        if server_only:
            raise ValueError(f"engine.{server_only[0]}: given, but engine.kind is {engine.kind}; allowed: only where it is openai")
        if engine.kind == "transformers" and engine.options != default.options:
            raise ValueError(f"engine.options: {engine.options} given; allowed: none where engine.kind is transformers")
        return self

    @model_validator(mode="after")
    def _keys_are_encrypted(self) -> Params:
        endpoints = {"engine": self.engine, **{f"evaluate.baselines.{i}": model for i, model in enumerate(self.evaluate.baselines)}}
        for section, endpoint in endpoints.items():
            if endpoint.sends_key_unencrypted():
                raise ValueError(
                    f"{section}.url: {endpoint.url} given; allowed: https:// or this machine where {section}.api_key_env is set,"
                    " because plain http shows the key to the network"
                )
        return self

    @field_validator("environments")
    @classmethod
    def _known_environments(cls, names: list[str]) -> list[str]:
        known = _check_known(names)
        if not names or len(set(names)) < len(names):
            raise ValueError(f"one or more of {', '.join(known)}, each once")
        return names


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(entry) for key, entry in value.items())
    return value is None or isinstance(value, str | int | bool) or (isinstance(value, float) and abs(value) < float("inf"))


def _check_length(key: str, schedule: Any, length: int, meaning: str) -> None:
    if isinstance(schedule, list) and len(schedule) != length:
        entries = "1 entry" if length == 1 else f"{length} entries"
        raise ValueError(f"{key}: {schedule} given; allowed: one number, or a list with {entries}: {meaning}")


def _check_known(names: Iterable[str]) -> list[str]:
    """All registered environments. Raises ValueError where one of `names` is not among them."""
    from envs.registry import ENVIRONMENTS, is_registered  # imports gymnasium: too slow for `--help`

    known = sorted(ENVIRONMENTS)
    if unknown := sorted(name for name in set(names) if not is_registered(name)):
        raise ValueError(f"names among {', '.join(known)}; {', '.join(unknown)} is not one")
    return known
