"""`agentevol doctor --model`: preflight of one model as a table.

Invariant: it downloads and stores nothing.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agentevol.models import ModelNotFound, resolve_model
from agentevol.preflight.check import Check
from agentevol.settings.load import SettingsError, load_params
from agentevol.training.launch import LaunchFailed, check_combinations

_MARKS = {"ok": "[green]ok[/]", "question": "[yellow]look[/]", "error": "[red]error[/]"}


def check_model(name: str, params_file: Path) -> bool:
    """Print the checks of a model (a folder, or a name on the hub that is in the local cache); returns whether a run could start."""
    checks = _checks(name, params_file)
    table = Table(title=f"preflight of {escape(name)}", title_justify="left")
    for column in ("check", "", "result", "what to do"):
        table.add_column(column, overflow="fold")
    for check in checks:
        table.add_row(check.name, _MARKS[check.status], escape(check.detail), escape(check.remedy))
    Console(highlight=False).print(table)
    return not any(check.status == "error" for check in checks)


def _checks(name: str, params_file: Path) -> list[Check]:
    try:
        params = load_params(params_file)
        folder = resolve_model(name)
    except SettingsError as error:
        return [Check("parameters", "error", str(error), f"correct {params_file}")]
    except ModelNotFound as error:
        return [Check("weights", "error", str(error), "give a model folder, or download the model first (`hf download NAME`)")]
    try:
        check_combinations(params.finetune, on_nodes=bool(params.cluster.address and params.cluster.finetune))
    except LaunchFailed as error:
        return [Check("parameters", "error", str(error), f"correct {params_file}")]
    from agentevol.preflight import model as preflight
    from agentevol.preflight.files import read_size
    from agentevol.preflight.training_time import estimate_training_time

    checks, _ = preflight.check_model(folder, params.model.chat_template_kwargs, engine=params.engine.kind)
    checks += preflight.check_run(folder, params)
    if any(check.status == "error" for check in checks):
        return checks
    return [*checks, estimate_training_time(read_size(folder), params)]
