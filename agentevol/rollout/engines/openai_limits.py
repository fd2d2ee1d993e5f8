"""The limit on the tokens of an answer, which a server adds to those of the prompt and compares with the model's context.

Invariant: a limit is lowered only where the context has no room for it. An answer that a lowered limit cuts is none: the context is full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LIMITS = ("max_completion_tokens", "max_tokens")
_MIN_LIMIT = 16  # tokens: a server that refuses a conversation with so few has no room for an answer


@dataclass(frozen=True, slots=True)
class BoundedRequest:
    """The body of a request. `full_context`: names the context that has no room for all tokens that an answer may have; None if it has."""

    body: Mapping[str, Any]
    full_context: str | None = None

    @property
    def limit(self) -> int | None:
        """At most this many tokens per answer; None if the body does not say."""
        return min((int(self.body[name]) for name in _LIMITS if isinstance(self.body.get(name), int)), default=None)

    def lowered(self, limit: int, context: str) -> BoundedRequest:
        """The request with room for at most so many tokens, which is what the context has left."""
        if self.limit is None or limit >= self.limit:
            return self
        limits = {name: min(self.body[name], limit) for name in _LIMITS if isinstance(self.body.get(name), int)}
        return BoundedRequest({**self.body, **limits}, context)

    def halved(self, context: str) -> BoundedRequest | None:
        """The request with half of the limit, after the server has refused the whole; None if that would leave too few tokens."""
        if self.limit is None or self.limit <= _MIN_LIMIT:
            return None
        return self.lowered(max(_MIN_LIMIT, self.limit // 2), context)
