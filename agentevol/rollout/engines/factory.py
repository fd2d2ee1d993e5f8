"""The inference engine of a policy: `transformers` (in this process and its workers), `vllm` (in this process) or `openai` (an endpoint).

Invariant: a rollout uses an engine through the protocol in rollout/engine.py alone. A new engine is one file and one line here; its
dependencies are imported only if it is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentevol.rollout.engine import Engine, Usage
from agentevol.settings.engines import EngineParams


def create_engine(
    model_folder: Path | None,
    settings: EngineParams | None,
    *,
    num_slots: int,
    context_length: int,
    usage: Usage | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    precision: str = "auto",
    kv_cache_gib: float | None = None,
) -> Engine:
    """The engine for the model in `model_folder`; None if the endpoint has its own model. `settings` None means `transformers`.

    `context_length`: tokens; `transformers` and `vllm` lower it to what the model allows.
    `usage`: counted by `openai`. `template_kwargs`: variables of the chat template. `precision`, `kv_cache_gib`: of `transformers`.
    Raises ModelNotFound, ChatTemplateError, EngineError.
    """
    kind = settings.kind if settings else "transformers"
    if settings is not None and kind == "openai":
        from agentevol.rollout.engines.openai import OpenAIEngine

        usage = usage or Usage()
        return OpenAIEngine(
            model_folder, settings, num_slots=num_slots, context_length=context_length, usage=usage, template_kwargs=template_kwargs
        )
    assert model_folder is not None, f"the engine {kind} needs a model folder"
    if settings is not None and kind == "vllm":
        from agentevol.rollout.engines.vllm import get_vllm_engine

        return get_vllm_engine(
            model_folder, num_slots=num_slots, context_length=context_length, options=settings.options, template_kwargs=template_kwargs
        )
    from agentevol.rollout.engines.transformers import TransformersEngine

    return TransformersEngine(
        model_folder,
        num_slots=num_slots,
        context_length=context_length,
        precision=precision,
        kv_cache_gib=kv_cache_gib,
        template_kwargs=template_kwargs,
        keep_model=True,
    )
