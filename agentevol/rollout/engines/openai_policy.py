"""A policy of this project on vLLM's server: loading its weights there, and what requests for it say besides.

Invariant: the policy is sampled, and its answers end, as with the engines of this process, whatever model the server was started with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.function_calling import has_call
from agentevol.rollout.engine import EngineError, GenerationRequest, one_line_error


def load_weights(url: str, headers: Mapping[str, str], timeout: httpx.Timeout, model_folder: Path) -> None:
    """Have vLLM's server load the model, from a folder that it must see too, and drop what it has cached with the previous weights.

    `url`: ends in /v1. Raises EngineError.
    """
    root = url.removesuffix("/v1")
    reload = {"method": "reload_weights", "kwargs": {"weights_path": str(model_folder.resolve())}}
    try:
        with httpx.Client(base_url=root, headers=headers, timeout=timeout) as client:
            for path, body in (("/collective_rpc", reload), ("/reset_prefix_cache", None)):
                client.post(path, json=body).raise_for_status()
    except httpx.HTTPError as error:
        remedy = "engine.weight_sync vllm needs VLLM_SERVER_DEV_MODE=1 vllm serve, on a machine that sees the same folders"
        raise EngineError(f"{root} did not load {model_folder}: {one_line_error(error)}; {remedy}") from None


def policy_fields(chat: ChatTokenizer, template_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a request for a policy of this project says besides. Such a server is vLLM's; a hosted model may refuse an unknown field."""
    return {
        # The server itself knows only the end token of the model that it was started with.
        "stop_token_ids": sorted(chat.stop_token_ids),
        # Neutral values. The server takes what a request leaves out from the model's generation_config.json.
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        **({"chat_template_kwargs": dict(template_kwargs)} if template_kwargs else {}),
    }


def prompt_length(chat: ChatTokenizer, request: GenerationRequest) -> int:
    """The tokens of the conversation, up to the first token of the answer, as the policy's own chat tokenizer counts them."""
    *earlier, last = request.messages
    if not earlier:
        return len(chat.tokenize_prompt(last.content, request.tools))
    answers_call = request.tools is not None and has_call(earlier[-1].content)
    history = chat.tokenize_conversation(earlier, request.tools).token_ids
    return len(history) + len(chat.tokenize_observation(last.content, answers_call=answers_call))
