"""Which engine speaks for a policy: `transformers` (in this process and its workers), `vllm` (in this process), `openai` (an endpoint).

Invariant: a rollout sees an engine through turns.Engine alone. Another engine is one file and one line here; what it needs is imported
only when it is chosen.
"""

from __future__ import annotations

from pathlib import Path

from agentevol.rollout.engine import Engine, Usage
from agentevol.settings.engines import EngineParams


def create_engine(policy: Path | None, how: EngineParams | None, *, slots: int, context: int, usage: Usage | None = None) -> Engine:
    """The engine for the model in the folder `policy`; None where the endpoint has one of its own. None for `how` is `transformers`.

    Raises ModelNotFound, turns.EngineError.
    """
    kind = how.kind if how else "transformers"
    if how is not None and kind == "openai":
        from agentevol.rollout.engines.openai import OpenAIEngine

        return OpenAIEngine(policy, how, slots=slots, context=context, usage=usage or Usage())
    assert policy is not None, f"the engine {kind} plays a model folder"
    if how is not None and kind == "vllm":
        from agentevol.rollout.engines.vllm import vllm_engine

        return vllm_engine(policy, slots=slots, context=context, options=how.options)
    from agentevol.rollout.engines.transformers import TransformersEngine

    return TransformersEngine(policy, slots=slots, context=context)


def supports_worker_processes(how: EngineParams | None) -> bool:
    """Whether several processes at one rollout, each with an engine of its own, are of use: on a processor they are."""
    if how is not None and how.kind != "transformers":
        return False
    import torch

    return not torch.cuda.is_available()
