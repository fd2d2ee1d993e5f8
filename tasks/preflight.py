"""Preflight as a task: a model is checked before anything is played or trained, once for its content.

Invariant: a model that fails raises PreflightFailed and stores nothing, so that the next run checks it again.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agentevol.preflight.check import Check, raise_if_failed
from agentevol.settings.schema import Params
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task
from tasks.progress import say


def run_preflight(params: Params, model: Artifact, *, trains: bool = True) -> str | None:
    """Check the model for this run; returns ChatTokenizer.format_key. Prints what the user should look at. Raises PreflightFailed.

    `trains`: whether policies are trained from the model; otherwise it is only played.
    """
    from agentevol.preflight.model import check_run

    result = preflight(
        model=model,
        engine=params.engine.kind,
        trains=trains,
        transformers=version("transformers"),
        template_kwargs=params.model.chat_template_kwargs or None,
    )
    checks = [*(Check(*check) for check in result.facts["checks"]), *check_run(model.folder, params, trains=trains)]
    raise_if_failed(model.path, checks)
    for check in checks:
        if check.status == "question":
            say(f"preflight: {check.line()}")
    chat_format: str | None = result.facts["chat_format"]
    return chat_format


@cached_task("preflight", version="1")
def preflight(
    out: Path, *, model: Artifact, engine: str, trains: bool, transformers: str, template_kwargs: dict[str, Any] | None = None
) -> TaskOutput:
    """Check a model's files, tokenizer, chat template and architecture.

    `engine`: engine.kind. `transformers`: the version of the library, which decides what architectures can be used; only the key needs it.
    """
    from agentevol.preflight.model import check_model
    from agentevol.training.heap import limit_kernel_cache

    limit_kernel_cache()
    checks, chat_format = check_model(model.folder, template_kwargs, engine=engine, trains=trains)
    raise_if_failed(model.path, checks)
    (out / "checks.json").write_text(json.dumps([check._asdict() for check in checks], indent=1), encoding="utf-8")
    return TaskOutput(facts={"checks": [list(check) for check in checks], "chat_format": chat_format})
