"""The interface between a rollout and an inference engine: requests for answers, their results, and the engine protocol.

Invariant: an engine knows no environment and a rollout knows no model. A slot holds one conversation and has at most one open request;
requests of different slots are independent, and their results come in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.trajectory import Message
from agentevol.rollout.sampling import Sampling
from envs.checks import replace_surrogates


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A conversation that the policy is to continue with one answer of at most `max_new_tokens` tokens.

    `messages`: the whole conversation; the last message is the user's. `token_ids`: the same conversation as tokens, with those that the
    policy sampled; empty if the engine has no `chat`. The caller changes neither before it has the result. `rng`: the episode's own random
    numbers, from which the engine draws as `sampling` says. `tools`: the functions that the policy may call (JSON schemas), None where it
    writes its actions as text; `token_ids` hold them already.
    """

    slot: int
    messages: Sequence[Message]
    token_ids: Sequence[int]
    rng: np.random.Generator
    sampling: Sampling
    max_new_tokens: int
    tools: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """The answer in a slot. If `truncation_reason` or `error` is set, there is no answer.

    `token_ids`: the sampled tokens with the end token, if it was sampled; empty if the engine does not know them. `logprobs`: of these
    tokens, where `sampling.record_logprobs` asks for them and the engine knows them. `stopped`: the policy
    ended the answer itself, before `max_new_tokens`. `truncation_reason`: the conversation does not fit the context. `error`: something
    broke, which is not a failure of the policy. `total_tokens`: the length of the conversation with this answer, from engines without
    `chat`.
    """

    slot: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    stopped: bool = True
    truncation_reason: str | None = None
    error: str | None = None
    total_tokens: int = 0
    logprobs: list[float] = field(default_factory=list)


class Engine(Protocol):
    """A policy that holds up to `num_slots` conversations of up to `context_length` tokens each.

    `digest`: the policy's content hash. `chat`: converts messages to tokens and back; None if the engine takes messages as they are.
    """

    digest: str
    num_slots: int
    context_length: int

    @property
    def chat(self) -> ChatTokenizer | None: ...

    def submit(self, request: GenerationRequest) -> None:
        """Accept a request; `poll` returns its result at some later time."""

    def poll(self, timeout: float | None = None) -> list[GenerationResult]:
        """Results that are ready. Blocks until there is one, but returns at once if no request is open.

        timeout: return without a result after about this many seconds; None has no limit. An engine may return earlier.
        Raises EngineError if retrying cannot help; that ends the rollout.
        """

    def release(self, slot: int) -> None:
        """Free a slot: forget its conversation and cancel its open request."""

    def close(self) -> None:
        """Free all resources; called at the end of a rollout, also after an error."""


class EngineError(RuntimeError):
    """The engine cannot work with its settings; the message names the engine, the problem and the remedy."""


@dataclass(slots=True)
class Usage:
    """The use of an endpoint by a rollout: requests, the retries among them (`repeated`), and tokens as the endpoint counts them."""

    requests: int = 0
    repeated: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


def one_line_error(error: BaseException) -> str:
    """The type and the message of an exception, in one line of valid text."""
    return replace_surrogates(" ".join(f"{type(error).__name__}: {error}".split()))
