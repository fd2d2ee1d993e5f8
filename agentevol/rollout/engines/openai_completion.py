"""The reply of an OpenAI-compatible server: its answer, and why it has none; and empty answers in the history, which some servers refuse.

Invariant: an answer that the model could not write (its tokens went into reasoning, a filter withheld it) is an error, never an empty text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from agentevol.rollout.engines.openai_tools import answer_text

_EMPTY = "(empty)"  # stands for an empty message where the server refuses one


@dataclass(frozen=True, slots=True)
class Completion:
    """A chat completion. `finish_reason`: as the server gives it; `only_reasoned`: the text is null, or empty beside reasoning.

    `reasoning_tokens`: those of the completion that are no part of the answer, as far as the server says.
    """

    text: str
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    only_reasoned: bool

    @property
    def stopped(self) -> bool:
        """Whether the policy ended the answer itself."""
        return self.finish_reason != "length"

    @property
    def total_tokens(self) -> int:
        """The length of the conversation with this answer."""
        return self.prompt_tokens + max(0, self.completion_tokens - self.reasoning_tokens)

    def error(self, url: str) -> str | None:
        """Why there is no answer; None if there is one, an empty one included. `url`: of the server, for the message."""
        if self.text:
            return None
        if self.finish_reason == "length" and self.only_reasoned:
            used = f"the model used all of its {self.completion_tokens or 'allowed'} tokens before its answer began (finish_reason: length)"
            return f"{used}; raise rollout.max_new_tokens, or make it reason less (engine.options)"
        if self.finish_reason == "content_filter":
            return f"{url} withheld the answer (finish_reason: content_filter)"
        return None


def read_completion(response: httpx.Response) -> Completion | None:
    """The completion; None if the response is none."""
    try:
        completion = response.json()
        choice, counts = completion["choices"][0], completion.get("usage") or {}
        message = choice["message"]
        text, finish_reason = answer_text(message), choice.get("finish_reason")
        prompt_tokens, completion_tokens = int(counts.get("prompt_tokens") or 0), int(counts.get("completion_tokens") or 0)
        if text is None:
            return None
        reasoning_tokens = int((counts.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0)
        has_reasoned = bool(message.get("reasoning_content") or message.get("reasoning") or reasoning_tokens)
        only_reasoned = not text and (message.get("content") is None or has_reasoned)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    return Completion(text, finish_reason, prompt_tokens, completion_tokens, reasoning_tokens, only_reasoned)


def has_empty_message(body: Mapping[str, Any]) -> bool:
    return any(not message["content"].strip() for message in body["messages"])


def without_empty_messages(body: Mapping[str, Any]) -> dict[str, Any]:
    """The request with a text in place of empty messages, which some servers refuse (Anthropic's and Mistral's, for example)."""
    return {
        **body,
        "messages": [message if message["content"].strip() else {**message, "content": _EMPTY} for message in body["messages"]],
    }
