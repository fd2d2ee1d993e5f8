"""The steps of a run, bound to its parameters and sets, so that a flow reads like the algorithm.

Invariant: nothing about M enters a step, so a run of four iterations contains those of one, two and three; every set that is learnt from
has passed the gate.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from agentevol.evaluation.scores import drop_incomplete_overall
from agentevol.report.formatting import format_rate
from agentevol.report.model import RANDOM
from agentevol.rollout.sampling import Sampling
from agentevol.settings.engines import BaselineParams, EngineParams
from agentevol.settings.load import SettingsError, load_params
from agentevol.settings.schema import Params, RolloutParams
from agentevol.training.precision import resolve
from envs.base import Split
from envs.registry import environment_class
from tasks.artifact import Artifact
from tasks.cached_task import forget
from tasks.collect import collect, part, reading, take_instructions, take_trajectories
from tasks.datasets import filter_by_reward, merge
from tasks.env_versions import env_versions
from tasks.evaluate import score
from tasks.gate import validate
from tasks.learn import base_model, endpoint, finetune
from tasks.locks import alone
from tasks.progress import say
from tasks.random_baseline import play_random
from tasks.rollout import gather, play, roll_out

TASKS = (take_trajectories, take_instructions, finetune, play, gather, filter_by_reward, merge, validate, score, play_random)
"""Those of a run, whose versions say what its figures mean."""


@dataclass(frozen=True, slots=True)
class Sets:
    """The data of a run, cut to its environments and limits: D_s, D_l, the instructions explored and those of AgentEval.

    `held_out` is all of AgentEval: what is not played this time must not be learnt from either.
    """

    agenttraj: Artifact
    agenttraj_l: Artifact
    explore: Artifact
    agenteval: Artifact
    held_out: Artifact


def parameters(
    params_file: str = "params.yaml",
    *,
    iterations: int | None = None,
    samples: int | list[int] | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
) -> Params:
    """The parameters of a run; what is given here goes before the file. Raises SettingsError with one line."""
    named = {"evolve.iterations": iterations, "evolve.samples": samples, "seed": seed}
    return load_params(Path(params_file), [*overrides, *(f"{key}={value}" for key, value in named.items() if value is not None)])


EXPERT_SETS = {"agenttraj": "AgentTraj", "agenttraj_l": "AgentTraj-L"}


def run_lock(run: str) -> AbstractContextManager[None]:
    """One run with the same figures at a time, for they would write to the same run in MLflow; the next takes over what the first made."""
    return alone(f"run-{run[:16]}", "the same run is going already, in another process; waiting for it")


def evolving(chosen: Mapping[str, str | None]) -> list[str]:
    """Overrides for the keys of `evolve` that have been chosen."""
    return [f"evolve.{key}={value}" for key, value in chosen.items() if value is not None]


class Job:
    """The steps. Building one verifies the data."""

    def __init__(self, params: Params, gates: dict[str, str] | None = None) -> None:
        """`gates`: takes what the gate says of each set, by its name."""
        self.params = params
        self.gates = {} if gates is None else gates
        self.base = base_model(params.model.base)
        self.sets = self._sets()

    def made_from(self) -> dict[str, Any]:
        """What decides a run's figures besides its parameters: the content of its sets, and the versions of its environments and tasks."""
        sets = {field.name: getattr(self.sets, field.name) for field in fields(self.sets)}
        return {
            "sets": {name: data.digest for name, data in sets.items()},
            "env_versions": env_versions(*sets.values()),
            "tasks": {task.name: task.version for task in TASKS},
            "precision": resolve(self.params.finetune.precision),  # auto differs between machines
        }

    def expert_gate(self, name: Literal["agenttraj", "agenttraj_l"]) -> None:
        """The gate for an expert set: of a whole one every instruction must be there, of a cut one those that it was cut to."""
        limits = self.params.data.limits
        data: Artifact = getattr(self.sets, name)
        if not data.rows:
            raise SettingsError(
                f"environments: {', '.join(self.params.environments)} given, which have no expert to be cloned;"
                " allowed: at least one that has ; any can be explored beside it, and scored by `agentevol evaluate`"
            )
        cut = limits.train if name == "agenttraj" else limits.train_large
        self._gate(EXPERT_SETS[name], data, expert=True, covering=[data] if cut else None)

    def learn(self, name: str, data: Artifact, iteration: int, start: Artifact | None = None) -> Artifact:
        """A policy: the base model (or `start`) fine-tuned on `data`; iteration 0 is behavioural cloning."""
        self._can_play_what_is_learnt()
        self._limit_threads()
        params = self.params
        model = finetune(
            base=start or self.base,
            data=data,
            settings=params.finetune.model_copy(
                update={"precision": resolve(params.finetune.precision)}
            ),  # the key says what was computed in
            epochs=params.finetune.epochs_at(iteration),
            updates=params.finetune.max_steps,
            seed=params.seed,
            rule=params.evolve.rule,
            name=name,
            label=name,
        )
        if too_long := len(model.facts["too_long"]):
            most = model.facts.get("max_tokens", params.finetune.max_tokens)
            say(
                f"{name}: {too_long} of {data.rows} trajectories have more than {most} tokens"
                " (finetune.max_tokens, or the model's own context) and were left out"
            )
        return model

    def explore(self, name: str, policy: Artifact, iteration: int) -> Artifact:
        """K sampled episodes on every instruction that may be learnt from, also on those that no expert ever solved."""
        how, samples = self.params.explore, self.params.evolve.samples_at(iteration)
        sampling = Sampling(temperature=how.temperature, top_p=how.top_p, seed=self.params.seed, iteration=iteration)
        return self._play(name, policy, self.sets.explore, "explore", samples, sampling)

    def keep(self, explored: Artifact, iteration: int) -> Artifact:
        """Filter by reward; what is kept passes the gate.

        Where nothing succeeded, there is only what it is merged with to be judged, unless `gate.min_coverage` asks for something.
        """
        kept = filter_by_reward(explored=explored, cap=self.params.evolve.max_kept_per_instruction, env_versions=env_versions(explored))
        dropped = ", ".join(f"{count} {reason}" for reason, count in kept.facts["dropped"].items() if count)
        say(
            f"explored {explored.rows} episodes in {explored.facts['seconds']:.0f} s, kept {kept.rows}"
            + (f" (dropped: {dropped})" if dropped else "")
        )
        if kept.rows or self.params.gate.min_coverage > 0:
            self._gate(f"Iteration {iteration}: kept", kept, covering=[self.sets.explore])
        return kept

    def merge(self, kept: list[Artifact]) -> Artifact:
        """AgentTraj and what was explored, by `evolve.merge`; the result passes the gate too."""
        how = self.params.evolve.merge
        merged = merge(initial=self.sets.agenttraj, explored=kept, how=how)
        covering = [self.sets.explore, *([self.sets.agenttraj] if how != "none" else [])]
        self._gate(f"Iteration {len(kept)}: merged", merged, covering=covering)
        return merged

    def baseline(self, hosted: BaselineParams) -> tuple[Artifact, Artifact, Artifact]:
        """A hosted model as a policy, its episodes on AgentEval, and their scores."""
        engine = hosted.engine()
        own = {
            "concurrency": hosted.concurrency,
            "num_workers": 1,
            "max_new_tokens": hosted.max_new_tokens,
            "context_length": hosted.context_length,
        }
        rollout, policy = self.params.rollout.model_copy(update=own), endpoint(engine)
        return policy, *self.evaluate(hosted.name, policy, 0, engine=engine, rollout=rollout)

    def by_chance(self) -> tuple[Artifact, Artifact] | None:
        """The random player's episodes on AgentEval, and their scores; None where no world of the run lists its actions."""
        instructions = self.sets.agenteval
        inputs = {"instructions": instructions, "seed": self.params.seed, "env_versions": env_versions(instructions)}
        if play_random.is_done(**inputs) and (there := play_random.describe(inputs)).facts.get("faults"):
            forget(there)  # what was missing then may be there now
        played = play_random(**inputs)
        if faults := played.facts.get("faults"):
            say(f"{RANDOM}: a fault ended {sum(faults.values())} of {played.rows} episodes, the first: {next(iter(faults))}")
        if not played.rows:
            return None
        scores = score(episodes=played, label=RANDOM)
        return played, scores.model_copy(update={"facts": drop_incomplete_overall(scores.facts, lambda one: one["n"], instructions.counts)})

    def evaluate(
        self, name: str, policy: Artifact, iteration: int, engine: EngineParams | None = None, rollout: RolloutParams | None = None
    ) -> tuple[Artifact, Artifact]:
        """The policy's episodes on AgentEval, and their scores; the overall one is said at once."""
        sampling = Sampling(temperature=self.params.evaluate.temperature, seed=self.params.seed, iteration=iteration)
        episodes = self._play(name, policy, self.sets.agenteval, "eval", 1, sampling, engine, rollout)
        scores = score(episodes=episodes, label=name)
        overall = scores.facts["overall"]
        say(f"{name}: success on AgentEval {format_rate(overall, digits=1, unit=' %')}, n = {overall['n']}")
        return episodes, scores

    def _play(
        self,
        name: str,
        policy: Artifact,
        instructions: Artifact,
        split: Split,
        samples: int,
        sampling: Sampling,
        engine: EngineParams | None = None,
        rollout: RolloutParams | None = None,
    ) -> Artifact:
        self._limit_threads()
        settings = rollout or self.params.rollout
        played = roll_out(
            policy=policy,
            name=name,
            instructions=instructions,
            split=split,
            samples=samples,
            sampling=sampling,
            settings=settings,
            engine=engine or self._engine(),
        )
        if cut := played.facts["cut"]["context"]:
            say(f"{name}: {cut} of {played.rows} episodes ended because the context of {settings.context_length} tokens was full")
        return played

    def _engine(self) -> EngineParams | None:
        """What speaks for the run's policies; None for the default, which then counts in no key."""
        return None if self.params.engine.kind == "transformers" else self.params.engine

    def _gate(self, name: str, data: Artifact, *, covering: list[Artifact] | None, expert: bool = False) -> None:
        try:
            said = validate(
                data=data,
                evaluation=self.sets.held_out,
                limit=self.params.gate,
                tokenizer=self.base,
                expert=expert,
                environments=self._taught() if expert else [],
                covering=covering,
                env_versions=env_versions(data, *(covering or [])),
            )
        except Exception as error:
            self.gates[name] = f"# Gate: **stopped the run**\n\n{error}"
            raise
        self.gates[name] = said.facts["markdown"]

    def _taught(self) -> list[str]:
        """The environments that have expert trajectories: of three the paper has none, they are explored or scored only."""
        return [name for name in self.params.environments if environment_class(name).sizes.agent_traj]

    def _can_play_what_is_learnt(self) -> None:
        engine = self.params.engine
        if engine.kind == "openai" and engine.weight_sync is None:
            raise SettingsError(
                f"engine.weight_sync: null given, but the policies of this run must be loaded into the server at {engine.url};"
                " allowed: vllm (hosted models to compare with stand in evaluate.baselines)"
            )

    def _limit_threads(self) -> None:
        threads = self.params.model.num_threads
        if threads and "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        elif threads:
            os.environ["OMP_NUM_THREADS"] = str(threads)  # read by torch when it is imported: for finished work it never is

    def _sets(self) -> Sets:
        params, limits = self.params, self.params.data.limits
        wanted: dict[str, tuple[Split, int | None]] = {
            "agenttraj": ("train", limits.train),
            "agenttraj_l": ("train_large", limits.train_large),
            "explore": ("explore", limits.explore),
            "agenteval": ("eval", limits.eval),
        }
        with reading():
            data = collect(params.data.folder, params.environments)
            say("data: " + ", ".join(f"{name} {artifact.rows}" for name, artifact in data.items()))
            whole = data["agenteval"]
            return Sets(
                held_out=part(whole, split="eval", environments=list(whole.counts), limit=None),
                **{
                    name: part(data[name], split=split, environments=params.environments, limit=limit)
                    for name, (split, limit) in wanted.items()
                },
            )
