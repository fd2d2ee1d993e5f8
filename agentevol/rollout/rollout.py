"""Rollouts: a policy plays many episodes at once, each with its own environment, engine slot and random number generator.

Invariants: results come in the order of the work, whatever finishes first; an error (of an environment or the engine) is retried and then
recorded as `error`, never as reward 0; scheduling depends on the work alone, so the same call gives the same trajectories. Where
environments step in the background (`concurrent_steps`), which episodes share a pass depends on time too: that can change the last bits of
the logits, and nothing else, because each episode draws from its own random numbers.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import envs
from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.function_calling import has_call
from agentevol.data.trajectory import Trajectory
from agentevol.gpus import free_gpu_memory, visible_gpus
from agentevol.rollout.background_calls import BackgroundCalls, Continuation
from agentevol.rollout.engine import Engine, GenerationRequest, GenerationResult, Usage
from agentevol.rollout.engines.factory import create_engine
from agentevol.rollout.episode import Episode
from agentevol.rollout.processes import plan_processes, slots_per_engine
from agentevol.rollout.sampling import Sampling
from agentevol.rollout.server_pool import ServerPool
from agentevol.rollout.workers import map_workers
from agentevol.settings.agent import ActionFormat
from agentevol.settings.engines import EngineParams
from agentevol.settings.rollout import RolloutParams
from envs.registry import ENVIRONMENTS, environment_class

Progress = Callable[[int, int], None]
GREEDY = Sampling()
MIN_ANSWER_TOKENS = 2
"""The room that a conversation must leave in the context for an answer to be requested: a token and the end token."""
_POLL_SECONDS = 0.05  # how long an environment that has stepped in the background may wait for the engine's other results


def roll_out(
    model_folder: Path | None,
    instructions: Sequence[envs.Instruction],
    *,
    samples: int | Sequence[int] = 1,
    sampling: Sampling = GREEDY,
    split: str = "eval",
    policy: str = "policy",
    settings: RolloutParams,
    engine: EngineParams | None = None,
    usage: Usage | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    action_format: ActionFormat = "react",
    progress: Progress | None = None,
) -> list[Trajectory]:
    """Play every instruction with the model in `model_folder`: `samples` times each, or once for each given sample index.

    On a CPU `settings.num_workers` processes share the episodes and the slots, with several GPUs one process for each. `engine`: the
    inference engine, by default `transformers`; an endpoint with its own model needs no folder, and `usage` counts what it used.
    `template_kwargs`: variables of the chat template. `action_format`: how the policy gives its actions.
    Returns one trajectory per (instruction, sample), in the order of the instructions, errors included. Raises ModelNotFound, WorkerLost,
    EngineError, UnsupportedEngines, ChatTemplateError.
    """
    indices = range(samples) if isinstance(samples, int) else samples
    work = [(instruction, sample) for instruction in instructions for sample in indices]
    uses_endpoint = engine is not None and engine.kind == "openai"
    gpus = () if uses_endpoint else visible_gpus()
    plan = plan_processes(settings, engine, gpus, len(work))
    num_slots = slots_per_engine(settings, engine, gpus, plan)
    # Shuffled: if fast and slow environments alternate in the list, one process would otherwise get all the slow ones.
    shuffled = sorted(range(len(work)), key=lambda index: hashlib.sha256(f"{work[index][0].item_id}:{work[index][1]}".encode()).digest())
    shard_indices = [sorted(shuffled[number :: plan.count]) for number in range(plan.count)]
    common = (sampling, settings, split, policy, dict(ENVIRONMENTS), engine, usage, template_kwargs, action_format)
    shards = [_Shard(model_folder, num_slots, [work[index] for index in part], *common) for part in shard_indices]
    if plan.gpus:
        free_gpu_memory()
    shard_results = map_workers(_play_shard, shards, progress, [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in plan.gpus])
    trajectories: dict[int, Trajectory] = {}
    for part, results in zip(shard_indices, shard_results, strict=True):
        trajectories |= zip(part, results, strict=True)
    return [trajectories[index] for index in range(len(work))]


@dataclass(frozen=True, slots=True)
class _Shard:
    """The episodes that one process plays, and all that it needs to play them."""

    model_folder: Path | None
    num_slots: int
    work: list[tuple[envs.Instruction, int]]
    sampling: Sampling
    settings: RolloutParams
    split: str
    policy: str
    environments: dict[str, str]
    engine: EngineParams | None
    usage: Usage | None
    """Only engines that run without worker processes count it, so the counts arrive in the caller's object."""
    template_kwargs: Mapping[str, Any] | None
    action_format: ActionFormat


def _play_shard(shard: _Shard, progress: Progress) -> list[Trajectory]:
    ENVIRONMENTS.update(shard.environments)
    engine = create_engine(
        shard.model_folder,
        shard.engine,
        num_slots=shard.num_slots,
        context_length=shard.settings.context_length,
        usage=shard.usage,
        template_kwargs=shard.template_kwargs,
        precision=shard.settings.precision,
        kv_cache_gib=shard.settings.kv_cache_gib,
    )
    rollout = Rollout(engine, shard.sampling, shard.settings, split=shard.split, policy=shard.policy, action_format=shard.action_format)
    return rollout.play(shard.work, progress)


class Rollout:
    """Plays a list of (instruction, sample) with one engine. A slot that becomes free goes to the next episode at once."""

    def __init__(
        self,
        engine: Engine,
        sampling: Sampling,
        settings: RolloutParams,
        *,
        split: str,
        policy: str,
        action_format: ActionFormat = "react",
    ) -> None:
        self.engine, self.sampling, self.settings = engine, sampling, settings
        self.split, self.policy, self.action_format = split, policy, action_format
        self._calls = BackgroundCalls()

    def play(self, work: Sequence[tuple[envs.Instruction, int]], progress: Progress | None = None) -> list[Trajectory]:
        """The trajectories, in the order of the work. Closes the engine at the end."""
        queue = deque((index, 0, 0) for index in range(len(work)))  # with the numbers of the attempt and of its moves to another server
        servers = ServerPool(self.settings.addresses())
        free_slots = deque(range(self.engine.num_slots))
        running: dict[int, Episode] = {}
        trajectories: dict[int, Trajectory] = {}

        def begin(episode: Episode) -> None:
            if episode.server is not None and episode.server_unavailable:
                servers.leave_out(episode.server)  # at once, so that the next episodes do not wait for it, too
            self._request_first_answer(episode)

        def record(episode: Episode) -> None:
            if episode.server is not None:
                servers.release(episode.server, unavailable=episode.server_unavailable)
            if episode.server_unavailable and servers.can_move(episode.instruction.env, episode.moves):
                queue.appendleft((episode.index, episode.attempt, episode.moves + 1))
                return
            if episode.status == "error" and episode.attempt < self.settings.max_retries:
                queue.appendleft((episode.index, episode.attempt + 1, 0))
                return
            trajectories[episode.index] = episode.to_trajectory(
                self.engine, split=self.split, policy=self.policy, iteration=self.sampling.iteration
            )
            if progress is not None:
                progress(len(trajectories), len(work))

        try:
            while queue or running or self._calls:
                while queue and free_slots:
                    index, attempt, moves = queue.popleft()
                    slot = free_slots.popleft()
                    episode = running[slot] = self._create_episode(index, attempt, moves, *work[index], slot)
                    server = servers.acquire(episode.instruction.env)
                    self._call(episode, episode.start, server, then=begin)
                for result in self._poll(running.values()):
                    episode = running[result.slot]
                    if self._has_answer(episode, result):
                        self._call(episode, episode.step, result, then=self._continue_episode)
                for episode, then in self._calls.take_done():
                    then(episode)
                for slot, episode in sorted(running.items()):
                    if episode in self._calls or episode.status is None:
                        continue
                    del running[slot]
                    free_slots.append(slot)
                    self.engine.release(slot)
                    self._call(episode, episode.close, then=record)
        finally:
            for episode in running.values():
                if episode not in self._calls:
                    episode.close()
            self._calls.abandon()
            self.engine.close()
        return [trajectories[index] for index in range(len(work))]

    def _create_episode(self, index: int, attempt: int, moves: int, instruction: envs.Instruction, sample: int, slot: int) -> Episode:
        rng = self.sampling.rng(instruction.item_id, sample)
        return Episode(
            index, attempt, instruction, sample, slot, rng, self.settings.step_timeout, moves=moves, action_format=self.action_format
        )

    def _call(self, episode: Episode, function: Callable[..., None], *arguments: Any, then: Continuation) -> None:
        """Call a method of the episode that calls its environment, then `then(episode)`: at once, or in the background."""
        if self._steps_concurrently(episode.instruction.env):
            self._calls.start(episode, function, *arguments, then=then)
        else:
            function(*arguments)
            then(episode)

    def _steps_concurrently(self, env: str) -> bool:
        mode = self.settings.concurrent_steps
        return mode == "all" or (mode == "slow" and (env in self.settings.servers or environment_class(env).slow))

    def _poll(self, running: Collection[Episode]) -> list[GenerationResult]:
        """The engine's results. While environments step in the background it waits for the engine only shortly, or for them alone."""
        if not self._calls:
            return self.engine.poll()
        if any(episode not in self._calls for episode in running):
            return self.engine.poll(_POLL_SECONDS)
        self._calls.wait()
        return []

    def _request_first_answer(self, episode: Episode) -> None:
        if episode.status is None:
            chat = self.engine.chat
            self._request_answer(episode, chat.tokenize_prompt(episode.messages[0].content, episode.tools()) if chat else [])

    def _has_answer(self, episode: Episode, result: GenerationResult) -> bool:
        """Whether the environment gets an answer; else the episode is over."""
        if result.error is not None:
            episode.fail(f"engine: {result.error}")
        elif result.truncation_reason is not None:
            episode.truncate(result.truncation_reason)
        return episode.status is None

    def _continue_episode(self, episode: Episode) -> None:
        """After a step of the environment: request the next answer unless the episode is over."""
        if episode.status is not None:
            return
        if episode.is_looping(self.settings.max_repeats):
            episode.truncate(f"the same answer to the same observation {self.settings.max_repeats} times in a row")
            return
        chat = self.engine.chat
        # An answer that was cut at max_new_tokens, or ended with another stop token, gets an end token that the policy did not sample.
        observation = chat.missing_end(episode.answer_ids) + self._tokenize_observation(chat, episode) if chat else []
        self._request_answer(episode, observation)

    def _tokenize_observation(self, chat: ChatTokenizer, episode: Episode) -> list[int]:
        answer, observation = episode.messages[-2:]
        answers_call = self.action_format == "function_calling" and has_call(answer.content)
        return chat.tokenize_observation(observation.content, answers_call=answers_call)

    def _request_answer(self, episode: Episode, new_token_ids: list[int]) -> None:
        """Ask the engine for the next answer. `new_token_ids`: what the policy has to read first."""
        length = len(episode.token_ids) + len(new_token_ids) if self.engine.chat else episode.engine_tokens
        context_length = self.engine.context_length
        if length + MIN_ANSWER_TOKENS > context_length:
            if episode.token_ids or episode.engine_tokens:
                episode.truncate(f"the context of {context_length} tokens is full")
            else:
                episode.truncate(f"the opening of {len(new_token_ids)} tokens does not fit the context of {context_length}")
            return
        episode.add_tokens(new_token_ids, loss=False)
        self.engine.submit(
            GenerationRequest(
                slot=episode.slot,
                messages=episode.messages,
                token_ids=episode.token_ids,
                rng=episode.rng,
                sampling=self.sampling,
                max_new_tokens=self.settings.max_new_tokens,
                tools=episode.tools(),
            )
        )
