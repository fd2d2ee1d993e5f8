"""The parameters of a run: every key with its type, default, meaning and effect.

Invariant: a `Params` object that exists is valid. Imports nothing but pydantic, so that the command line starts quickly.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import field_validator, model_validator

from agentevol.settings.agent import AgentParams
from agentevol.settings.cluster import ClusterParams
from agentevol.settings.data import DataParams
from agentevol.settings.engines import BaselineParams, EngineParams
from agentevol.settings.environments import check_known_environments
from agentevol.settings.evolve import EvolveParams, SweepParams
from agentevol.settings.filter import FilterParams
from agentevol.settings.finetune import FinetuneParams
from agentevol.settings.gate import GateParams
from agentevol.settings.pretrain import PretrainParams
from agentevol.settings.rollout import ExploreParams, RolloutParams
from agentevol.settings.rules import DpoParams, GrpoParams, RuleParams
from agentevol.settings.store import StoreParams
from agentevol.settings.types import (
    ADAPTIVE,
    Count,
    Section,
    Seed,
    Temperature,
    Text,
    parameter,
)

_RESERVED_NAMES = ("bc-base", "bc-large", "overall", "random", "random player", "zero-shot")
_RESERVED_TEMPLATE_VARIABLES = (
    *("messages", "conversation", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize", "tools", "documents"),
    *("padding", "truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs"),
    *("sanitize_control_tokens", "strftime_now", "raise_exception"),
)
"""Names that already have a meaning when a template is rendered."""


class ModelParams(Section):
    """The base model."""

    base: Text = parameter("models/base", "A model folder, or the name of a causal language model on the Hugging Face hub.")
    num_threads: Count | None = parameter(None, "CPU threads of the model; null: PyTorch decides.", effect="numerics", formerly="threads")
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


class EvaluateParams(Section):
    """How AgentEval is played, and what is scored beside the run's own policies."""

    temperature: Temperature = parameter(0.0, "Sampling temperature; 0 is greedy.")
    bc_large: bool = parameter(True, "Also train and score BC-Large.", effect="extra", formerly="large")
    zero_shot: bool = parameter(True, "Also score the base model before any training.", effect="extra")
    random: bool = parameter(True, "Also score a random player, in environments that list their actions.", effect="extra")
    baselines: list[BaselineParams] = parameter(
        [],
        "Hosted models as additional columns of the table, e.g. [{name: GPT-4-Turbo, url: https://.../v1, model: gpt-4-turbo}].",
        effect="extra",
    )

    @field_validator("baselines")
    @classmethod
    def _unique_names(cls, baselines: list[BaselineParams]) -> list[BaselineParams]:
        names = [baseline.name.lower() for baseline in baselines]
        taken = [name for name in names if names.count(name) > 1 or name in _RESERVED_NAMES or name.startswith("iteration")]
        if taken:
            raise ValueError(f"baselines with different names; {taken[0]} is already taken")
        return baselines


class Params(Section):
    """All parameters of a run. The same Params on the same commit give the same datasets and scores.

    Rule between sections: an episode that fills its context must pass the gate and be short enough to learn from.
    """

    seed: Seed = parameter(0, "The random seed of the run.")
    environments: list[str] = parameter(["babyai", "maze", "textcraft", "wordle"], "The names of the environments of the run.")
    model: ModelParams = parameter(ModelParams(), "The base model.")
    data: DataParams = parameter(DataParams(), "The datasets.")
    agent: AgentParams = parameter(AgentParams(), "How policies act.", added_later=True)
    rollout: RolloutParams = parameter(RolloutParams(), "How episodes are played.")
    engine: EngineParams = parameter(EngineParams(), "The inference engine of the run's policies.")
    cluster: ClusterParams = parameter(ClusterParams(), "The machines that play and train.", added_later=True)
    explore: ExploreParams = parameter(ExploreParams(), "How exploration samples its answers.")
    evolve: EvolveParams = parameter(EvolveParams(), "The loop of exploration and learning.")
    filter: FilterParams = parameter(FilterParams(), "Which explored episodes are kept, and their rewards.", added_later=True)
    finetune: FinetuneParams = parameter(FinetuneParams(), "Training.")
    dpo: DpoParams = parameter(DpoParams(), "The learning rule dpo.", added_later=True)
    grpo: GrpoParams = parameter(GrpoParams(), "The learning rule grpo.", added_later=True)
    evaluate: EvaluateParams = parameter(EvaluateParams(), "Evaluation.")
    gate: GateParams = parameter(GateParams(), "The checks of training data.")
    store: StoreParams = parameter(StoreParams(), "The store of results.", effect="none", added_later=True)
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
        if self.evolve.budget and not self.evolve.is_adaptive and ADAPTIVE not in self.sweep.samples:
            raise ValueError(
                f"evolve.budget: {self.evolve.budget} given, but evolve.samples is {self.evolve.samples};"
                " allowed: only where that is adaptive"
            )
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
    def _nodes_get_results(self) -> Params:
        if self.cluster.folder and not self.store.url:
            raise ValueError(
                f"cluster.folder: {self.cluster.folder} given, but store.url is null; allowed: only with a shared store, through which the"
                " results travel"
            )
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

    def rule_params(self, rule: str) -> RuleParams | None:
        """The section of a learning rule; None for a rule without parameters."""
        section = getattr(self, rule, None)
        return section if isinstance(section, RuleParams) else None

    @field_validator("environments")
    @classmethod
    def _known_environments(cls, names: list[str]) -> list[str]:
        known = check_known_environments(names)
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
