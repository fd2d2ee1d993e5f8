"""Rolling a policy out: many episodes at once, each with its own environment, its own slot of the engine and its own random stream.

Invariants: the order of the results is the order of the work, whatever finished first; a fault (environment or engine) is retried and
then recorded as `error`, never as reward 0; scheduling depends on the work alone, so the same call gives the same trajectories.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

import envs
from agentevol.chat import first_message
from agentevol.engine import TransformersEngine, choose, usable
from agentevol.sampling import Sampling
from agentevol.trajectory import Message, Status, Trajectory
from agentevol.workers import share_out
from envs.registry import ENVIRONMENTS

Progress = Callable[[int, int], None]
GREEDY = Sampling()
_FEWEST_EACH = 8  # episodes: fewer are not worth a process
_TOKENS_A_PASS = 2048  # what bounds the memory of a forward pass
NOT_FINITE = "the model's logits are not finite; its weights are damaged or the precision is too low"


class RolloutSettings(Protocol):
    """What rolling out needs of the parameters (settings.RolloutParams has it)."""

    @property
    def slots(self) -> int: ...
    @property
    def max_new_tokens(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def workers(self) -> int: ...
    @property
    def servers(self) -> Mapping[str, str]: ...
    @property
    def repeats(self) -> int | None: ...


@dataclass(slots=True)
class _Episode:
    """One live episode: what was said, what is still to be fed to the model, what is being said."""

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
    pending: list[int] = field(default_factory=list)
    answer: list[int] = field(default_factory=list)
    status: Status | None = None
    error: str | None = None


def roll_out(
    folder: Path,
    instructions: Sequence[envs.Instruction],
    *,
    samples: int | Sequence[int] = 1,
    sampling: Sampling = GREEDY,
    split: str = "eval",
    policy: str = "policy",
    settings: RolloutSettings,
    progress: Progress | None = None,
) -> list[Trajectory]:
    """Play every instruction with the model in `folder`: `samples` times each, or the given sample indices.

    On a CPU the episodes are dealt out to `settings.workers` processes, which share the slots. Returns one trajectory per (instruction,
    sample), instruction by instruction, errors included. Raises ModelNotFound, workers.WorkerLost.
    """
    indices = range(samples) if isinstance(samples, int) else samples
    work = [(instruction, sample) for instruction in instructions for sample in indices]
    hands = max(1, min(settings.workers, settings.slots, len(work) // _FEWEST_EACH)) if not torch.cuda.is_available() else 1
    slots = -(-settings.slots // hands)
    # Dealt out shuffled: a list that alternates between quick and slow worlds would otherwise give one process all the slow ones.
    shuffled = sorted(range(len(work)), key=lambda index: hashlib.sha256(f"{work[index][0].item_id}:{work[index][1]}".encode()).digest())
    hand = [sorted(shuffled[number::hands]) for number in range(hands)]
    parts = [_Part(folder, slots, [work[index] for index in mine], sampling, settings, split, policy, dict(ENVIRONMENTS)) for mine in hand]
    played: dict[int, Trajectory] = {}
    for mine, some in zip(hand, share_out(_play, parts, progress), strict=True):
        played |= zip(mine, some, strict=True)
    return [played[index] for index in range(len(work))]


@dataclass(frozen=True, slots=True)
class _Part:
    """What one process plays, and all it must know for it."""

    folder: Path
    slots: int
    work: list[tuple[envs.Instruction, int]]
    sampling: Sampling
    settings: RolloutSettings
    split: str
    policy: str
    environments: dict[str, str]


def _play(part: _Part, progress: Progress) -> list[Trajectory]:
    ENVIRONMENTS.update(part.environments)
    engine = TransformersEngine(part.folder, slots=part.slots, context=part.settings.context)
    return Rollout(engine, part.sampling, part.settings, split=part.split, policy=part.policy).play(part.work, progress)


class Rollout:
    """Plays a list of (instruction, sample): a finished episode frees its slot for the next at once."""

    def __init__(self, engine: TransformersEngine, sampling: Sampling, settings: RolloutSettings, *, split: str, policy: str) -> None:
        self.engine, self.sampling, self.settings = engine, sampling, settings
        self.split, self.policy = split, policy

    def play(self, work: Sequence[tuple[envs.Instruction, int]], progress: Progress | None = None) -> list[Trajectory]:
        waiting = deque((index, 0) for index in range(len(work)))
        free = deque(range(self.engine.slots))
        live: dict[int, _Episode] = {}
        results: dict[int, Trajectory] = {}
        attempts: dict[int, int] = {}
        while waiting or live:
            while waiting and free:
                index, attempt = waiting.popleft()
                slot = free.popleft()
                attempts[slot] = attempt
                live[slot] = self._begin(index, *work[index], slot)
            self._advance(list(live.values()))
            for slot, episode in sorted(live.items()):
                if episode.status is None:
                    continue
                del live[slot]
                free.append(slot)
                self.engine.clear(slot)
                self._leave(episode)
                if episode.status == "error" and attempts[slot] < self.settings.retries:
                    waiting.appendleft((episode.index, attempts[slot] + 1))
                    continue
                results[episode.index] = self._record(episode)
                if progress is not None:
                    progress(len(results), len(work))
        return [results[index] for index in range(len(work))]

    def _begin(self, index: int, instruction: envs.Instruction, sample: int, slot: int) -> _Episode:
        episode = _Episode(index, instruction, sample, slot, self.sampling.stream(instruction.item_id, sample), time.perf_counter())
        # Named boundary: whatever an environment raises is a fault of the world, to be told apart from a policy that fails.
        try:
            episode.env = envs.make(instruction.env, server=self.settings.servers.get(instruction.env))
            observation, _ = episode.env.reset(options={"item_id": instruction.item_id})
        except Exception as error:
            return self._fault(episode, f"environment: {_told(error)}")
        opening = first_message(episode.env.prompt, observation)
        episode.messages.append(Message("user", opening))
        self._hear(episode, self.engine.chat.opening(opening))
        return episode

    def _advance(self, episodes: list[_Episode]) -> None:
        """One forward pass: everybody who says the next token, and of those who have something to read as many as the budget takes."""
        running = sorted((episode for episode in episodes if episode.status is None), key=lambda episode: episode.slot)
        turn: list[_Episode] = []
        budget = _TOKENS_A_PASS
        for episode in sorted(running, key=lambda episode: len(episode.pending) > 1):
            if not turn or len(episode.pending) <= budget:
                turn.append(episode)
                budget -= len(episode.pending)
        if not turn:
            return
        try:
            logits = self.engine.append([episode.slot for episode in turn], [episode.pending for episode in turn])
        except RuntimeError as error:  # torch's: out of memory, most often
            for episode in turn:
                self._fault(episode, f"engine: {_told(error)}; where memory is short, lower rollout.slots or rollout.context")
            return
        sound = usable(logits)
        if not all(sound):
            for episode in (episode for episode, fine in zip(turn, sound, strict=True) if not fine):
                self._fault(episode, f"engine: {NOT_FINITE}")
            turn, logits = [episode for episode in turn if episode.status is None], logits[sound]
        if not turn:
            return
        uniforms = [float(episode.stream.random()) for episode in turn]
        tokens = choose(logits, temperature=self.sampling.temperature, top_p=self.sampling.top_p, uniforms=uniforms)
        for episode, token in zip(turn, tokens, strict=True):
            episode.pending = [token]
            episode.answer.append(token)
            if token in self.engine.chat.stop_ids or len(episode.answer) >= self.settings.max_new_tokens:
                self._act(episode)
            elif len(episode.ids) + len(episode.answer) + 1 >= self.engine.context:
                self._cut(episode)

    def _act(self, episode: _Episode) -> None:
        """The answer is complete: hand it to the environment, hear what it says."""
        chat, env = self.engine.chat, episode.env
        assert env is not None, "an episode without a world ended as an error"
        ended = episode.answer[-1] in chat.stop_ids
        text = chat.text(episode.answer)
        episode.messages.append(Message("assistant", text, loss=True))
        episode.ids += episode.answer
        episode.loss += [True] * len(episode.answer)
        try:
            observation, _, terminated, truncated, _ = env.answer(text)
        except Exception as error:
            self._fault(episode, f"environment: {_told(error)}")
            return
        episode.messages.append(Message("user", observation))
        if terminated or truncated:
            episode.status = "finished" if terminated else "truncated"
            return
        if self._stuck(episode.messages):
            self._cut(episode, f"the same answer to the same observation {self.settings.repeats} times in a row")
            return
        # The last token of the answer has not been fed yet; an answer cut at max_new_tokens is closed with an end mark it did not choose.
        unread = episode.answer[-1:]
        episode.answer = []
        self._hear(episode, ([] if ended else [chat.end_id]) + chat.observation(observation), unread)

    def _stuck(self, messages: list[Message]) -> bool:
        """Whether the last exchanges (what was answered, what came of it) are all alike: a loop that few policies ever leave."""
        repeats = self.settings.repeats
        if repeats is None or len(messages) < 2 * repeats + 1:
            return False
        last = [(messages[-2 * n].content, messages[1 - 2 * n].content) for n in range(1, repeats + 1)]
        return len(set(last)) == 1

    def _hear(self, episode: _Episode, ids: list[int], unread: list[int] | None = None) -> None:
        if len(episode.ids) + len(ids) + 2 > self.engine.context:
            opening = f"the opening of {len(ids)} tokens does not fit the context of {self.engine.context}"
            self._cut(episode, None if episode.ids else opening)
            return
        episode.pending = (unread or []) + ids
        episode.ids += ids
        episode.loss += [False] * len(ids)

    def _cut(self, episode: _Episode, cause: str | None = None) -> None:
        """Truncated by the context, not by the world's round limit: told apart by its cause."""
        episode.status = "truncated"
        episode.error = cause or f"the context of {self.engine.context} tokens is full"

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
                self._fault(episode, f"environment: {_told(error)}")

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
            tokens=len(episode.ids),
            seconds=round(time.perf_counter() - episode.started, 3),
            token_ids=episode.ids,
            loss_mask=episode.loss,
        )


def _told(error: Exception) -> str:
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
