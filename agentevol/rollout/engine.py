"""What a rollout and an engine say to one another: whose turn it is to speak, and what was said.

Invariant: an engine knows no environment and a rollout no model. A conversation is asked to speak only when its last answer has been taken,
so every slot has one turn at most; turns of different slots are independent and are answered in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.trajectory import Message
from agentevol.rollout.sampling import Sampling


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A conversation in which the policy is to speak, and how: at most `limit` tokens, drawn from `stream` as `sampling` says.

    `messages`: all of it, the world's message last. `ids`: the same as tokens, what was sampled among them; empty where the engine has no
    `chat`. Neither is changed before the answer is there.
    """

    slot: int
    messages: Sequence[Message]
    ids: Sequence[int]
    stream: np.random.Generator
    sampling: Sampling
    limit: int


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """What was said in a slot; with `cut` or `fault` nothing was, and these say why.

    `ids`: the sampled tokens, with the end mark where it was sampled; empty where the engine does not know them. `ended`: by itself, not at
    the limit. `cut`: the context is full. `fault`: something broke, which is no failure of the policy. `tokens`: the length of the
    conversation with this answer, as far as an engine without `chat` knows it.
    """

    slot: int
    text: str = ""
    ids: list[int] = field(default_factory=list)
    ended: bool = True
    cut: str | None = None
    fault: str | None = None
    tokens: int = 0


class Engine(Protocol):
    """A policy that holds up to `slots` conversations of up to `context` tokens at once.

    `digest` names the policy by its content. `chat` turns messages into tokens and back; without one the engine takes messages as they are.
    """

    digest: str
    slots: int
    context: int

    @property
    def chat(self) -> ChatTokenizer | None: ...

    def submit(self, turn: GenerationRequest) -> None:
        """Take over a turn; the answer comes from `answers`, sooner or later."""

    def poll(self) -> list[GenerationResult]:
        """Answers that are done. Waits where there is nothing else to do, gives none at once where nobody is to speak.

        Raises EngineError for what no repetition can put right: it ends the rollout.
        """

    def release(self, slot: int) -> None:
        """Forget a slot's conversation, also in the middle of its turn."""

    def close(self) -> None:
        """The rollout is over, or was ended by an error: let go of what it held."""


class EngineError(RuntimeError):
    """The engine cannot be used as it is set up; the message says what was asked of whom and what to do."""


@dataclass(slots=True)
class Usage:
    """What a rollout asked of an endpoint: requests, those sent again, and the tokens that it says it read and wrote."""

    requests: int = 0
    repeated: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


def one_line_error(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
