"""Classifies the refusals of OpenAI-compatible servers: a full context, a problem of one request, or a problem of every request.

Invariant: only a problem of every request may end a rollout. Servers word the same refusal differently, so texts are matched without case.
"""

from __future__ import annotations

import re

import httpx

RETRYABLE_STATUS_CODES = {408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 524, 529}
REQUEST_STATUS_CODES = {400, 413, 422, 451}  # the server read the request and refuses its content
_CONTEXT_STATUS_CODES = {400, 413, 422, 500}
_QUOTA_EXCEEDED = "insufficient_quota"  # a 429 for which waiting does not help
_MODERATION = re.compile(r"moderation|flagged|content[ _]?(filter|policy)", re.IGNORECASE)  # OpenRouter refuses such a prompt with 403
# Refusals with 400 that no other prompt would avoid.
_WRONG_SETTINGS = re.compile(
    r"model_not_found|invalid[ _]model|model\W.{0,80}(does not exist|not found|not supported)|unknown model|no such model"
    r"|unsupported[ _](parameter|value)|unknown[ _]parameter|unrecognized request argument|api[ _]key",
    re.IGNORECASE,
)
_CONTEXT_FULL = re.compile(
    "|".join(
        (
            r"context_length_exceeded|exceed_context_size|context_window_exceeded|tokens_limit_reached|string_above_max_length",
            r"context (length|window|limit|size)|max_model_len|maximum model length|context the overflows",  # OpenAI, vLLM, llama.cpp
            r"(prompt|input|conversation|request body)( is)? too (long|large)|too many (input )?tokens",  # Anthropic, Cohere
            r"(input )?token count\b.{0,40} exceeds|tokens? exceeds? the (configured )?(limit|maximum)",  # Gemini, OpenAI
            r"maximum (prompt|input|sequence) length|exceeded model token limit",  # xAI, Moonshot
            r"range of input length should be|`?inputs`? tokens \+ `?max_new_tokens`? must be",
            r"reduce the length of the (messages|prompt|input)",
            r"input (tokens?|length)\b.{0,60} (exceed|longer than|must (be less|have less|not exceed))",  # TGI, SGLang, others
        )
    ),
    re.IGNORECASE,
)


def is_context_full(response: httpx.Response) -> bool:
    """Whether the conversation is too long for the model."""
    return response.status_code in _CONTEXT_STATUS_CODES and bool(_CONTEXT_FULL.search(response.text))


def is_retryable(response: httpx.Response) -> bool:
    """Whether the same request may succeed later."""
    return response.status_code in RETRYABLE_STATUS_CODES and _QUOTA_EXCEEDED not in response.text


def is_about_one_request(response: httpx.Response) -> bool:
    """Whether the server refuses this prompt, and may answer others: a content filter, for example."""
    if response.status_code == 403:
        return bool(_MODERATION.search(response.text))
    return response.status_code in REQUEST_STATUS_CODES and not _WRONG_SETTINGS.search(response.text)
