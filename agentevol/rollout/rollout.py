"""Rolling a policy out: many episodes at once, each with its own environment, its own slot of the engine and its own random stream.

Invariants: the order of the results is the order of the work, whatever finished first; a fault (environment or engine) is retried and
then recorded as `error`, never as reward 0; scheduling depends on the work alone, so the same call gives the same trajectories.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import envs
from agentevol.data.react import first_message
from agentevol.data.trajectory import Message, Status, Trajectory
from agentevol.rollout.engine import Engine, GenerationRequest, GenerationResult, Usage, one_line_error
from agentevol.rollout.engines.factory import create_engine, supports_worker_processes
from agentevol.rollout.sampling import Sampling
from agentevol.rollout.workers import map_workers
from agentevol.settings.engines import EngineParams
from agentevol.settings.schema import RolloutParams
from envs.registry import ENVIRONMENTS

Progress = Callable[[int, int], None]
GREEDY = Sampling()
_FEWEST_EACH = 8  # episodes: fewer are not worth a process


@dataclass(slots=True)
class _Episode:
    """One live episode: what was said in it, as messages and (where the engine knows them) as tokens."""

    index: int
    instruction: envs.Instruction
    sample: int
    slot: int
    stream: np.random.Generator
    started: float
    env: envs.TextEnv | None = None
    messages: list[Message] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    loss: list[bool] = field(default_factory=list)
    tokens: int = 0
    status: Status | None = None
    error: str | None = None


def waits(env: envs.TextEnv, text: str) -> bool:
    """Whether the answer does nothing on purpose, which the best play may do many times running (`TextEnv.waiting_actions`)."""
    try:
        return env.parse_action(text) in env.waiting_actions
    except envs.InvalidAction:
        return False


def roll_out(
    folder: Path | None,
    instructions: Sequence[envs.Instruction],
    *,
    samples: int | Sequence[int] = 1,
    sampling: Sampling = GREEDY,
    split: str = "eval",
    policy: str = "policy",
    settings: RolloutParams,
    engine: EngineParams | None = None,
    usage: Usage | None = None,
    progress: Progress | None = None,
) -> list[Trajectory]:
    """Play every instruction with the model in `folder`: `samples` times each, or the given sample indices.

    On a CPU the episodes are dealt out to `settings.num_workers` processes, which share the slots. `engine`: what speaks for the model, by
    default `transformers`; with an endpoint that has a model of its own there is no folder, and `usage` counts what it cost. Returns one
    trajectory per (instruction, sample), instruction by instruction, errors included. Raises ModelNotFound, workers.WorkerLost,
    turns.EngineError.
    """
    indices = range(samples) if isinstance(samples, int) else samples
    work = [(instruction, sample) for instruction in instructions for sample in indices]
    hands = max(1, min(settings.num_workers, settings.concurrency, len(work) // _FEWEST_EACH)) if supports_worker_processes(engine) else 1
    slots = -(-settings.concurrency // hands)
    # Dealt out shuffled: a list that alternates between quick and slow worlds would otherwise give one process all the slow ones.
    shuffled = sorted(range(len(work)), key=lambda index: hashlib.sha256(f"{work[index][0].item_id}:{work[index][1]}".encode()).digest())
    hand = [sorted(shuffled[number::hands]) for number in range(hands)]
    common = (sampling, settings, split, policy, dict(ENVIRONMENTS), engine, usage)
    parts = [_Part(folder, slots, [work[index] for index in mine], *common) for mine in hand]
    played: dict[int, Trajectory] = {}
    for mine, some in zip(hand, map_workers(_play, parts, progress), strict=True):
        played |= zip(mine, some, strict=True)
    return [played[index] for index in range(len(work))]


@dataclass(frozen=True, slots=True)
class _Part:
    """What one process plays, and all it must know for it."""

    folder: Path | None
    slots: int
    work: list[tuple[envs.Instruction, int]]
    sampling: Sampling
    settings: RolloutParams
    split: str
    policy: str
    environments: dict[str, str]
    engine: EngineParams | None
    usage: Usage | None
    """Counted by an engine that has no workers, so in the process that asks for it."""


def _play(part: _Part, progress: Progress) -> list[Trajectory]:
    ENVIRONMENTS.update(part.environments)
    engine = create_engine(part.folder, part.engine, slots=part.slots, context=part.settings.context_length, usage=part.usage)
    return Rollout(engine, part.sampling, part.settings, split=part.split, policy=part.policy).play(part.work, progress)


class Rollout:
    """Plays a list of (instruction, sample): a finished episode frees its slot for the next at once."""

    def __init__(self, engine: Engine, sampling: Sampling, settings: RolloutParams, *, split: str, policy: str) -> None:
        self.engine, self.sampling, self.settings = engine, sampling, settings
        self.split, self.policy = split, policy

    def play(self, work: Sequence[tuple[envs.Instruction, int]], progress: Progress | None = None) -> list[Trajectory]:
        """The trajectories, in the order of the work. The engine is closed afterwards."""
        waiting = deque((index, 0) for index in range(len(work)))
        free = deque(range(self.engine.slots))
        live: dict[int, _Episode] = {}
        results: dict[int, Trajectory] = {}
        attempts: dict[int, int] = {}
        try:
            while waiting or live:
                while waiting and free:
                    index, attempt = waiting.popleft()
                    slot = free.popleft()
                    attempts[slot] = attempt
                    live[slot] = self._begin(index, *work[index], slot)
                for answer in self.engine.poll():
                    self._hear_answer(live[answer.slot], answer)
                for slot, episode in sorted(live.items()):
                    if episode.status is None:
                        continue
                    del live[slot]
                    free.append(slot)
                    self.engine.release(slot)
                    self._leave(episode)
                    if episode.status == "error" and attempts[slot] < self.settings.max_retries:
                        waiting.appendleft((episode.index, attempts[slot] + 1))
                        continue
                    results[episode.index] = self._record(episode)
                    if progress is not None:
                        progress(len(results), len(work))
        finally:
            for episode in live.values():
                self._leave(episode)
            self.engine.close()
        return [results[index] for index in range(len(work))]

    def _begin(self, index: int, instruction: envs.Instruction, sample: int, slot: int) -> _Episode:
        episode = _Episode(index, instruction, sample, slot, self.sampling.stream(instruction.item_id, sample), time.perf_counter())
        # Named boundary: whatever an environment raises is a fault of the world, to be told apart from a policy that fails.
        try:
            episode.env = envs.make(instruction.env, server=self.settings.servers.get(instruction.env))
            observation, _ = episode.env.reset(options={"item_id": instruction.item_id})
        except Exception as error:
            return self._fault(episode, f"environment: {one_line_error(error)}")
        opening = first_message(episode.env.prompt, observation)
        episode.messages.append(Message("user", opening))
        self._ask(episode, chat.tokenize_prompt(opening) if (chat := self.engine.chat) else [])
        return episode

    def _hear_answer(self, episode: _Episode, answer: GenerationResult) -> None:
        """Hand what was said to the environment, and what that says to the engine."""
        if answer.fault is not None:
            self._fault(episode, f"engine: {answer.fault}")
            return
        if answer.cut is not None:
            self._cut(episode, answer.cut)
            return
        chat, env = self.engine.chat, episode.env
        assert env is not None, "an episode without a world ended as an error"
        episode.messages.append(Message("assistant", answer.text, loss=True))
        episode.ids += answer.ids
        episode.loss += [True] * len(answer.ids)
        episode.tokens = answer.tokens
        try:
            observation, _, terminated, truncated, _ = env.answer(answer.text)
        except Exception as error:
            self._fault(episode, f"environment: {one_line_error(error)}")
            return
        episode.messages.append(Message("user", observation))
        if terminated or truncated:
            episode.status = "finished" if terminated else "truncated"
            return
        if self._stuck(episode.messages) and not waits(env, answer.text):
            self._cut(episode, f"the same answer to the same observation {self.settings.max_repeats} times in a row")
            return
        # An answer that was ended at max_new_tokens is closed with an end mark that it did not choose.
        self._ask(episode, ([] if answer.ended else [chat.end_token_id]) + chat.tokenize_observation(observation) if chat else [])

    def _stuck(self, messages: list[Message]) -> bool:
        """Whether the last exchanges (what was answered, what came of it) are all alike: a loop that few policies ever leave."""
        repeats = self.settings.max_repeats
        if repeats is None or len(messages) < 2 * repeats + 1:
            return False
        last = [(messages[-2 * n].content, messages[1 - 2 * n].content) for n in range(1, repeats + 1)]
        return len(set(last)) == 1

    def _ask(self, episode: _Episode, ids: list[int]) -> None:
        """It is the policy's turn; `ids`: what it has to hear first."""
        length = len(episode.ids) + len(ids) if self.engine.chat else episode.tokens
        if length + 2 > self.engine.context:
            begun = episode.ids or episode.tokens
            full = f"the context of {self.engine.context} tokens is full"
            self._cut(episode, full if begun else f"the opening of {len(ids)} tokens does not fit the context of {self.engine.context}")
            return
        episode.ids += ids
        episode.loss += [False] * len(ids)
        most = self.settings.max_new_tokens
        self.engine.submit(GenerationRequest(episode.slot, episode.messages, episode.ids, episode.stream, self.sampling, most))

    def _cut(self, episode: _Episode, cause: str) -> None:
        """Truncated, but not by the world's round limit: told apart by its cause."""
        episode.status = "truncated"
        episode.error = cause

    def _fault(self, episode: _Episode, cause: str) -> _Episode:
        episode.status = "error"
        episode.error = cause
        return episode

    def _leave(self, episode: _Episode) -> None:
        """Close the world. What it raises then cannot change an episode that is over, but is a fault like any other."""
        if episode.env is None:
            return
        try:
            episode.env.close()
        except Exception as error:
            if episode.status != "error":
                self._fault(episode, f"environment: {one_line_error(error)}")

    def _record(self, episode: _Episode) -> Trajectory:
        env, instruction = episode.env, episode.instruction
        assert episode.status is not None
        reward = 0.0 if env is None or episode.status == "error" else env.reward
        return Trajectory(
            item_id=instruction.item_id,
            env=instruction.env,
            task_type=instruction.task_type,
            split=self.split,
            policy=self.policy,
            policy_hash=self.engine.digest,
            iteration=self.sampling.iteration,
            sample=episode.sample,
            messages=episode.messages,
            reward=reward,
            success=env is not None and episode.status != "error" and env.succeeded(reward),
            rounds=env.rounds if env else 0,
            status=episode.status,
            error=episode.error,
            tokens=len(episode.ids) if self.engine.chat else episode.tokens,
            seconds=round(time.perf_counter() - episode.started, 3),
            token_ids=episode.ids if self.engine.chat else None,
            loss_mask=episode.loss if self.engine.chat else None,
        )
