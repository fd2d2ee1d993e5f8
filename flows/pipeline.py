"""The steps of a run, bound to its parameters and datasets, so that a flow reads like the algorithm.

Invariant: no step depends on M, so a run of four iterations contains those of one, two and three. Every training set has passed the gate.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Literal

from agentevol.data.validation import VALIDATION, EpisodeSplit
from agentevol.report.formatting import format_errors, format_rate, format_verifier
from agentevol.rollout.sampling import Sampling
from agentevol.settings.engines import BaselineParams, EngineParams
from agentevol.settings.filter import FilterParams
from agentevol.settings.load import SettingsError
from agentevol.settings.rollout import RolloutParams
from agentevol.settings.schema import Params
from agentevol.training.launch import ignore_launcher_variables
from agentevol.training.rules import rule_class
from flows.check_parameters import check_parameters
from flows.datasets import load_datasets
from flows.gate_checks import GateChecks
from flows.learning import learning_plan, records_logprobs
from flows.random_player import evaluate_random_player
from tasks.adaptive_exploration import AdaptiveSamples
from tasks.artifact import Artifact, check_store
from tasks.datasets import filter_by_reward, merge, summarize_exploration
from tasks.env_versions import env_versions
from tasks.evaluate import score
from tasks.learn import base_model, endpoint, finetune_policy
from tasks.openings import check_openings
from tasks.preflight import run_preflight
from tasks.progress import say
from tasks.rollout import roll_out
from tasks.shared_store import use_shared_store
from tasks.verifier import predict_success


class Pipeline:
    """The steps of the algorithm. The constructor verifies the data. Raises IncompatibleSchema for a store of another version,
    RemoteError for a shared store that cannot be used."""

    def __init__(
        self,
        params: Params,
        gate_reports: dict[str, str] | None = None,
        *,
        with_baselines: bool = True,
        evaluated: Artifact | None = None,
    ) -> None:
        """`gate_reports`: is filled with the gate's report on each dataset, by the dataset's name.

        `evaluated`: a model that is evaluated alone, in place of the base model, which is not needed. Raises SettingsError,
        PreflightFailed.
        """
        check_store()
        use_shared_store(params.store.url)
        check_parameters(params, with_baselines=with_baselines, trains=evaluated is None)
        ignore_launcher_variables()
        self.params = params
        self.base = base_model(params.model.base) if evaluated is None else evaluated
        self._limit_threads()
        self.chat: dict[str, Any] = {"template_kwargs": params.model.chat_template_kwargs or None, "chat_format": None}
        if self.base.kind == "model":
            self.chat["chat_format"] = run_preflight(params, self.base, trains=evaluated is None)
        self.datasets = data = load_datasets(params)
        if self.base.kind == "model":
            check_openings(params, self.base, expert=data.agenttraj, instructions=data.held_out, chat=self.chat)
        self.gate = GateChecks(params, self.base, self.chat, {} if gate_reports is None else gate_reports)

    def check_expert_set(self, name: Literal["agenttraj", "agenttraj_l"]) -> None:
        """The gate for an expert set. Raises GateFailed, SettingsError."""
        self.gate.check_expert_set(name, self.datasets)

    def finetune(self, name: str, data: Artifact, iteration: int, start: Artifact | None = None) -> Artifact:
        """The policy `name`: the base model (or `start`) fine-tuned on `data`. Iteration 0 is behavioural cloning."""
        self._check_engine_can_load_policies()
        self._limit_threads()
        params, plan = self.params, learning_plan(self.params, iteration)
        model = finetune_policy(
            cluster=params.cluster,
            num_threads=params.model.num_threads,
            base=start or self.base,
            data=data,
            settings=plan.settings,
            epochs=plan.epochs,
            max_steps=params.finetune.max_steps,
            seed=params.seed,
            rule=plan.rule,
            rule_options=plan.options,
            objective=params.filter.objective_weights if iteration else None,
            name=name,
            label=name,
            **self.chat,
        )
        if too_long := len(model.facts["too_long"]):
            max_tokens = model.facts.get("max_tokens", params.finetune.max_tokens)
            say(
                f"{name}: {too_long} of {data.rows} trajectories have more than {max_tokens} tokens"
                " (finetune.max_tokens, or the model's own context) and were left out"
            )
        if without_reward := model.facts.get("rule_counts", {}).get("without_reward"):
            say(
                f"{name}: {without_reward} of {data.rows} trajectories have a reward of 0 or less and were left out"
                " (see filter.reward and filter.objective)"
            )
        return model

    def explore(self, name: str, policy: Artifact, iteration: int, earlier: Sequence[Artifact] = ()) -> Artifact:
        """K sampled episodes on every instruction of the explore split, including those that the expert never solved.

        Where `evolve.samples` is adaptive, the results of the `earlier` explorations (oldest first) decide instead of K.
        """
        settings, evolve, instructions = self.params.explore, self.params.evolve, self.datasets.explore
        sampling = Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            seed=self.params.seed,
            iteration=iteration,
            record_logprobs=records_logprobs(self.params),
        )
        adaptive = AdaptiveSamples(evolve.budget or instructions.rows, tuple(earlier))
        samples = adaptive if evolve.is_adaptive else evolve.samples_at(iteration)
        return self._roll_out(name, policy, instructions, "explore", samples, sampling)

    def summarize(self, explored: Artifact) -> Artifact:
        """Results of an exploration: episodes and coverage by difficulty, and successes on instructions without an expert trajectory."""
        return summarize_exploration(explored=explored, instructions=self.datasets.explore, expert=self.datasets.agenttraj)

    def judge(self, explored: Artifact, name: str) -> Artifact | None:
        """The explored episodes with the verifier's predictions, from hidden states of the base model; None where no reward needs them."""
        settings = self.params.filter
        if not settings.uses_verifier:
            return None
        self._limit_threads()
        judged = predict_success(
            explored=explored,
            model=self.base,
            max_tokens=self.params.rollout.context_length,
            penalty=settings.verifier_penalty,
            label=name,
            **self.chat,
        )
        overall = judged.facts["quality"]["overall"]
        say(f"{name}: the verifier {format_verifier(overall)}")
        return judged

    def filter(self, explored: Artifact, iteration: int, judged: Artifact | None = None) -> Artifact:
        """The episodes that the section `filter` keeps (by default the successful ones), which must pass the gate.

        `judged`: the same episodes with a verifier's predictions. An empty result passes without the gate, unless `gate.min_coverage`
        requires some coverage.
        """
        cap, settings = self.params.evolve.max_kept_per_instruction, self.params.filter
        kept = filter_by_reward(explored=judged or explored, cap=cap, env_versions=env_versions(explored), settings=settings)
        dropped = ", ".join(f"{count} {reason}" for reason, count in kept.facts["dropped"].items() if count)
        say(
            f"explored {explored.rows} episodes in {explored.facts['seconds']:.0f} s, kept {kept.rows}"
            + (f" (dropped: {dropped})" if dropped else "")
        )
        if kept.rows or self.params.gate.min_coverage > 0:
            self.gate.check(f"Iteration {iteration}: kept", kept, self.datasets, coverage_sets=[self.datasets.explore])
        return kept

    def training_data(self, explored: list[Artifact], kept: list[Artifact]) -> Artifact:
        """The training set of the last iteration: the kept episodes, or all explored ones where the rule compares episodes; merged with
        AgentTraj as `evolve.merge` says, unless the rule learns from the last iteration's alone. `explored`, `kept`: one per iteration."""
        rule = rule_class(self.params.evolve.rule)
        if not rule.compares_episodes:
            return self.merge(kept)
        settings = FilterParams(keep="all", deduplicate=self.params.filter.deduplicate and not rule.is_on_policy)
        compared = [filter_by_reward(explored=part, cap=None, env_versions=env_versions(part), settings=settings) for part in explored]
        if not rule.is_on_policy:
            return self.merge(compared)
        name = f"Iteration {len(compared)}: explored"
        self.gate.check(name, compared[-1], self.datasets, coverage_sets=[self.datasets.explore], allow_duplicates=True)
        return compared[-1]

    def merge(self, kept: list[Artifact]) -> Artifact:
        """AgentTraj and the kept episodes, merged as `evolve.merge` says; the result must pass the gate."""
        how, limit = self.params.evolve.merge, self.params.data.limits.train
        merged = merge(initial=self.datasets.agenttraj, explored=kept, how=how, deduplicate=self.params.filter.deduplicate)
        coverage_sets = [self.datasets.explore, *([self.datasets.agenttraj] if how != "none" and not limit else [])]
        expert_limits = {"train": limit} if how != "none" and limit else None
        self.gate.check(f"Iteration {len(kept)}: merged", merged, self.datasets, coverage_sets=coverage_sets, expert_limits=expert_limits)
        return merged

    def evaluate(
        self, name: str, policy: Artifact, iteration: int, engine: EngineParams | None = None, rollout: RolloutParams | None = None
    ) -> tuple[Artifact, Artifact]:
        """The policy's episodes on AgentEval, and their scores; prints the overall score."""
        sampling = Sampling(temperature=self.params.evaluate.temperature, seed=self.params.seed, iteration=iteration)
        return self._evaluate_on("AgentEval", name, policy, self.datasets.agenteval, "eval", sampling, engine, rollout)

    def evaluate_on_validation(self, name: str, policy: Artifact, iteration: int) -> tuple[Artifact, Artifact] | tuple[None, None]:
        """The policy's episodes on the validation split, and their scores; None for both without a validation split."""
        if not self.datasets.validation.rows:
            return None, None
        sampling = Sampling(temperature=self.params.evaluate.temperature, seed=self.params.seed, iteration=iteration)
        return self._evaluate_on("the validation split", name, policy, self.datasets.validation, VALIDATION, sampling)

    def evaluate_zero_shot(self, name: str) -> tuple[Artifact, Artifact]:
        """The base model's episodes on AgentEval before any training, and their scores. Greedy episodes are the same for every seed."""
        temperature = self.params.evaluate.temperature
        sampling = Sampling(temperature=temperature, seed=self.params.seed if temperature else 0, iteration=0)
        return self._evaluate_on("AgentEval", name, self.base, self.datasets.agenteval, "eval", sampling)

    def evaluate_hosted(self, hosted: BaselineParams) -> tuple[Artifact, Artifact, Artifact]:
        """A hosted model as a policy, its episodes on AgentEval, and their scores."""
        engine = hosted.engine()
        limits = {
            "concurrency": hosted.concurrency,
            "num_workers": 1,
            "num_engines": None,
            "max_new_tokens": hosted.max_new_tokens,
            "context_length": hosted.context_length,
        }
        rollout, policy = self.params.rollout.model_copy(update=limits), endpoint(engine)
        return policy, *self.evaluate(hosted.name, policy, 0, engine=engine, rollout=rollout)

    def evaluate_random(self) -> tuple[Artifact, Artifact] | None:
        """The random policy's episodes on AgentEval, and their scores; None if no environment of the run lists its actions."""
        return evaluate_random_player(self.datasets.agenteval, self.params.seed)

    def random_on_validation(self) -> Artifact | None:
        """The random policy's episodes on the validation split; None if no environment of it lists its actions."""
        if not self.datasets.validation.rows:
            return None
        evaluated = evaluate_random_player(self.datasets.validation, self.params.seed, VALIDATION)
        return evaluated[0] if evaluated else None

    def _evaluate_on(
        self,
        title: str,
        name: str,
        policy: Artifact,
        instructions: Artifact,
        split: EpisodeSplit,
        sampling: Sampling,
        engine: EngineParams | None = None,
        rollout: RolloutParams | None = None,
    ) -> tuple[Artifact, Artifact]:
        episodes = self._roll_out(name, policy, instructions, split, 1, sampling, engine, rollout)
        scores = score(episodes=episodes, label=name)
        overall = scores.facts["overall"]
        say(f"{name}: success on {title} {format_rate(overall, digits=1, unit=' %')}, n = {overall['n']}{format_errors(overall)}")
        return episodes, scores

    def _roll_out(
        self,
        name: str,
        policy: Artifact,
        instructions: Artifact,
        split: EpisodeSplit,
        samples: int | AdaptiveSamples,
        sampling: Sampling,
        engine: EngineParams | None = None,
        rollout: RolloutParams | None = None,
    ) -> Artifact:
        self._limit_threads()
        settings = rollout or self.params.rollout
        episodes = roll_out(
            policy=policy,
            name=name,
            instructions=instructions,
            split=split,
            samples=samples,
            sampling=sampling,
            settings=settings,
            engine=engine or self._engine(),
            action_format=self.params.agent.format,
            cluster=self.params.cluster,
            num_threads=self.params.model.num_threads,
            **(self.chat if policy.kind == "model" else {}),
        )
        if truncated := episodes.facts["truncated"]["context"]:
            limit = f"at most {settings.context_length} tokens, or what the model or its server allows"
            say(f"{name}: {truncated} of {episodes.rows} episodes ended because the context was full ({limit})")
        for env, count in episodes.facts.get("unstarted", {}).items():
            say(f"{name}: {count} of {episodes.counts[env]} episodes of {env} had no round, because their opening fills the context")
        return episodes

    def _engine(self) -> EngineParams | None:
        """The inference engine of the run's policies; None for the default, which is then part of no key."""
        return None if self.params.engine.kind == "transformers" else self.params.engine

    def _check_engine_can_load_policies(self) -> None:
        engine = self.params.engine
        if engine.kind == "openai" and engine.weight_sync is None:
            raise SettingsError(
                f"engine.weight_sync: null given, but the policies of this run must be loaded into the server at {engine.url};"
                " allowed: vllm (hosted models for comparison belong in evaluate.baselines)"
            )

    def _limit_threads(self) -> None:
        threads = self.params.model.num_threads
        if threads and "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        elif threads:
            os.environ["OMP_NUM_THREADS"] = str(threads)  # torch reads it when it is imported, which cached work never does
