"""Preflight: all checks of a model, before anything is played or trained.

Invariant: `check_model` depends on the model's content alone, so its result can be stored; `check_run` depends on the machine and on the
parameters, and takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentevol.preflight.architecture import check_architecture
from agentevol.preflight.chat import check_chat
from agentevol.preflight.check import Check
from agentevol.preflight.files import check_files, read_size
from agentevol.preflight.resources import check_learning_rate, check_memory
from agentevol.preflight.weights import check_weights
from agentevol.settings.schema import Params


def check_model(
    folder: Path, template_kwargs: Mapping[str, Any] | None = None, *, engine: str, trains: bool = True
) -> tuple[list[Check], str | None]:
    """The checks of the files, the tokenizer, the chat template and the architecture, and ChatTokenizer.format_key.

    `engine`: engine.kind. `trains`: whether policies are trained from the model; otherwise it is only played.
    """
    checks = check_files(folder)
    if any(check.status == "error" for check in checks):
        return checks, None
    chat_checks, chat_format = check_chat(folder, template_kwargs, uses_server=engine == "openai")
    checks += chat_checks
    architecture = check_architecture(folder, plays=engine == "transformers", trains=trains)
    if architecture and all(check.status == "ok" for check in architecture):
        checks += check_weights(folder)
    return checks + architecture, chat_format


def check_run(folder: Path, params: Params, *, trains: bool = True) -> list[Check]:
    """The checks of the learning rate, and of this machine's memory for what it does itself."""
    size, cluster = read_size(folder), params.cluster
    plays_here = params.engine.kind == "transformers" and not cluster.address
    checks = [check_memory(size, params, plays=plays_here, trains=trains and not (cluster.address and cluster.finetune))]
    return [*checks, check_learning_rate(size, params)] if trains else checks
