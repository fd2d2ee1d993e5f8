"""Which engine speaks for a policy: `transformers` (in this process and its workers), `vllm` (in this process), `openai` (an endpoint).

Invariant: a rollout sees an engine through turns.Engine alone. Another engine is one file and one line here; what it needs is imported
only when it is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from agentevol.turns import Engine, Usage


class EngineSettings(Protocol):
    """What choosing an engine needs of the parameters (endpoints.EngineParams has it)."""

    @property
    def kind(self) -> str: ...
    @property
    def url(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def refresh(self) -> str | None: ...
    @property
    def key_from(self) -> str: ...
    @property
    def per_minute(self) -> int | None: ...
    @property
    def timeout(self) -> float: ...
    @property
    def retries(self) -> int: ...
    @property
    def options(self) -> Mapping[str, Any]: ...


def open_engine(policy: Path | None, how: EngineSettings | None, *, slots: int, context: int, usage: Usage | None = None) -> Engine:
    """The engine for the model in the folder `policy`; None where the endpoint has one of its own. None for `how` is `transformers`.

    Raises ModelNotFound, turns.EngineRefused.
    """
    kind = how.kind if how else "transformers"
    if how is not None and kind == "openai":
        from agentevol.openai_engine import OpenAIEngine

        return OpenAIEngine(policy, how, slots=slots, context=context, usage=usage or Usage())
    assert policy is not None, f"the engine {kind} plays a model folder"
    if how is not None and kind == "vllm":
        from agentevol.vllm_engine import vllm_engine

        return vllm_engine(policy, slots=slots, context=context, options=how.options)
    from agentevol.engine import TransformersEngine

    return TransformersEngine(policy, slots=slots, context=context)


def can_share(how: EngineSettings | None) -> bool:
    """Whether several processes at one rollout, each with an engine of its own, are of use: on a processor they are."""
    if how is not None and how.kind != "transformers":
        return False
    import torch

    return not torch.cuda.is_available()
