"""One running episode: its environment, its messages and its token ids, until it becomes a trajectory.

Invariant: whatever an environment does (an exception, a wrong value, a call that never returns) sets `status` to "error" and never becomes
a reward; all texts of an episode can be written as UTF-8. The texts of `error` are stored in rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import envs
from agentevol.data.action_format import parse_action, play_answer, prompt, tools
from agentevol.data.react import first_message
from agentevol.data.trajectory import Message, Status, Trajectory
from agentevol.rollout.engine import Engine, GenerationResult, one_line_error
from agentevol.rollout.environment_thread import CallFailed, EnvironmentThread
from agentevol.settings.agent import ActionFormat
from envs.checks import check_observation, check_progress, check_reward, replace_surrogates
from envs.remote.client import ServerUnavailable


@dataclass(slots=True)
class Episode:
    """The episode number `index` of a rollout, in a slot of the engine. `status` is None while it runs.

    `token_ids` and `loss_mask` (same length) are those that the engine has read and sampled, empty if it has no chat tokenizer;
    `engine_tokens` is the conversation's length as such an engine counts it. `attempt` counts from 0.
    """

    index: int
    attempt: int
    instruction: envs.Instruction
    sample: int
    slot: int
    rng: np.random.Generator
    step_timeout: float | None = None
    """Seconds that a call of an environment in this process may take. A client of a server has its own limits."""
    action_format: ActionFormat = "react"
    started: float = field(default_factory=time.perf_counter)
    env: envs.TextEnv | None = None
    messages: list[Message] = field(default_factory=list)
    message_seconds: list[float] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    loss_mask: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    """Of the sampled tokens, where the engine records them."""
    answer_ids: Sequence[int] = ()
    """The token ids of the last answer."""
    engine_tokens: int = 0
    status: Status | None = None
    error: str | None = None
    thread: EnvironmentThread | None = None
    server: str | None = None
    """The address of the server that plays the environment."""
    server_unavailable: bool = False
    """Whether the episode ended because its server did not answer or was full."""
    moves: int = 0
    """How often an unavailable server has ended this attempt before."""

    def start(self, server: str | None) -> None:
        """Create the environment, on the server at this URL or in this process, and record the first message."""
        self.server = server
        if server is None:
            self.thread = EnvironmentThread(self.step_timeout)
        try:
            self.env = self._call(lambda: envs.make(self.instruction.env, server=server))
            self._add_message(Message("user", self._call(self._reset)))
        except CallFailed as failure:
            self._fail_by(failure)

    def step(self, answer: GenerationResult) -> None:
        """Pass the policy's answer to the environment, and record both the answer and the observation."""
        assert self.env is not None, "an episode without an environment has ended as an error"
        text = replace_surrogates(answer.text)
        self._add_message(Message("assistant", text, loss=True))
        self.add_tokens(answer.token_ids, loss=True)
        self.logprobs += answer.logprobs
        self.answer_ids = answer.token_ids
        self.engine_tokens = answer.total_tokens
        try:
            observation, terminated, truncated = self._call(self._answer, text)
        except CallFailed as failure:
            self._fail_by(failure)
            return
        self._add_message(Message("user", observation))
        if terminated or truncated:
            self.status = "finished" if terminated else "truncated"

    def _add_message(self, message: Message) -> None:
        self.messages.append(message)
        self.message_seconds.append(round(time.perf_counter() - self.started, 4))

    def add_tokens(self, token_ids: Sequence[int], *, loss: bool) -> None:
        self.token_ids += token_ids
        self.loss_mask += [loss] * len(token_ids)

    def truncate(self, reason: str) -> None:
        """End the episode before the environment's round limit; `error` holds the reason, which an episode at the limit does not have."""
        self.status = "truncated"
        self.error = reason

    def fail(self, cause: str) -> None:
        self.status = "error"
        self.error = cause

    def _fail_by(self, failure: CallFailed) -> None:
        self.fail(f"environment: {one_line_error(failure.cause)}")
        self.server_unavailable = isinstance(failure.cause, ServerUnavailable)

    def close(self) -> None:
        """Close the environment. What it raises then is an error like any other, unless the episode already ended with one."""
        env, thread = self.env, self.thread
        self.thread = None
        try:
            if thread is not None:
                thread.close(env.close if env else None)
            elif env is not None:
                self._call(env.close)
        except CallFailed as failure:
            if isinstance(failure.cause, KeyboardInterrupt):
                raise failure.cause from None
            if self.status != "error":
                self._fail_by(failure)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """A call of the environment. Raises CallFailed, and KeyboardInterrupt if the environment raises it."""
        # Named boundary: whatever an environment raises is an error of the environment, not a failure of the policy.
        try:
            if self.thread is not None:
                return self.thread.call(function, *arguments)
            return function(*arguments)
        except CallFailed as failure:
            if isinstance(failure.cause, KeyboardInterrupt):
                raise failure.cause from None
            raise
        except Exception as error:
            raise CallFailed(error) from None

    def _reset(self) -> str:
        """The first message. Raises TypeError if the environment returns something else than text."""
        assert self.env is not None
        observation, _ = self.env.reset(options={"item_id": self.instruction.item_id})
        return replace_surrogates(first_message(prompt(self.env, self.action_format), check_observation(observation)))

    def _answer(self, text: str) -> tuple[str, bool, bool]:
        """One round: (observation, terminated, truncated). Raises TypeError, ValueError if the environment returns no text or no number."""
        assert self.env is not None
        observation, reward, terminated, truncated, _ = play_answer(self.env, text, self.action_format)
        check_reward(reward)
        check_reward(self.env.reward)
        check_progress(self.env.progress)
        return check_observation(observation), bool(terminated), bool(truncated)

    def is_looping(self, max_repeats: int | None) -> bool:
        """Whether the last `max_repeats` rounds had the same answer and the same observation. Few policies ever leave such a loop.

        Actions that do nothing on purpose are no loop: the best policy may wait for many rounds.
        """
        if max_repeats is None or len(self.messages) < 2 * max_repeats + 1:
            return False
        rounds = {(self.messages[-2 * n].content, self.messages[1 - 2 * n].content) for n in range(1, max_repeats + 1)}
        return len(rounds) == 1 and not self._is_waiting(self.messages[-2].content)

    def _is_waiting(self, answer: str) -> bool:
        return self.env is not None and is_waiting(self.env, answer, self.action_format)

    def tools(self) -> list[dict[str, Any]] | None:
        """The functions that the policy is offered, None where it writes its actions as text."""
        assert self.env is not None, "an episode without an environment has ended as an error"
        return tools(self.env, self.action_format)

    def to_trajectory(self, engine: Engine, *, split: str, policy: str, iteration: int) -> Trajectory:
        """The record of an episode that is over."""
        assert self.status is not None
        env, instruction = self.env, self.instruction
        reward = 0.0 if env is None or self.status == "error" else env.reward
        return Trajectory(
            item_id=instruction.item_id,
            env=instruction.env,
            task_type=instruction.task_type,
            split=split,
            policy=policy,
            policy_hash=engine.digest,
            iteration=iteration,
            sample=self.sample,
            messages=self.messages,
            reward=reward,
            success=env is not None and self.status != "error" and env.succeeded(reward),
            rounds=env.rounds if env else 0,
            status=self.status,
            error=self.error,
            tokens=len(self.token_ids) if engine.chat else self.engine_tokens,
            seconds=round(time.perf_counter() - self.started, 3),
            token_ids=self.token_ids if engine.chat else None,
            loss_mask=self.loss_mask if engine.chat else None,
            message_seconds=self.message_seconds,
            token_logprobs=self.logprobs if self.logprobs and len(self.logprobs) == sum(self.loss_mask) else None,
            progress=None if env is None or self.status == "error" else env.progress,
        )


def is_waiting(env: envs.TextEnv, answer: str, action_format: ActionFormat = "react") -> bool:
    """Whether the answer's action does nothing on purpose: one of `TextEnv.waiting_actions`."""
    try:
        return parse_action(env, answer, action_format) in env.waiting_actions
    except envs.InvalidAction:
        return False
