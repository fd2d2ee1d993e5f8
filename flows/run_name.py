"""The names of runs on Prefect's pages, made of the parameters that distinguish a run.

Invariant: wrong parameters never fail here; the flow reports them.
"""

from __future__ import annotations

from typing import Any

from agentevol.settings.load import SettingsError
from flows.parameters import evolve_overrides, load_parameters
from tasks.run_identity import run_name

DEFAULT_FILE = "params.yaml"


def flow_run_name() -> str:
    """The name of the current run, from its flow and its parameters."""
    from prefect.runtime import flow_run

    return name_for(str(flow_run.flow_name), flow_run.parameters or {})


def name_for(flow: str, parameters: dict[str, Any]) -> str:
    """`evolve`: M4-K1-s0; `sweep`: its name, or M1.2-K1.3-s0.1; `evaluate`: the model. Then the parameter file and overrides, if given."""
    file, overrides = parameters.get("params_file") or DEFAULT_FILE, list(parameters.get("overrides") or [])
    parts = [_subject(flow, parameters, file, overrides)]
    parts += [file] if file != DEFAULT_FILE else []
    return " ".join(part for part in [*parts, *overrides] if part)[:200] or flow


def _subject(flow: str, parameters: dict[str, Any], file: str, overrides: list[str]) -> str:
    if flow == "evaluate":
        return str(parameters.get("model", ""))
    if flow == "clone" and parameters.get("seed") is not None:
        return f"seed {parameters['seed']}"
    try:
        if flow == "evolve":
            chosen = {key: parameters.get(key) for key in ("merge", "start_from", "rule")}
            values = {key: parameters.get(key) for key in ("iterations", "samples", "seed")}
            params = load_parameters(file, **values, overrides=[*overrides, *evolve_overrides(chosen)])
            return " ".join([run_name(params), *(f"{key}={value}" for key, value in chosen.items() if value)])
        if flow == "sweep":
            return str(parameters.get("name") or "") or _grid(parameters, file, overrides)
    except SettingsError:
        return "wrong parameters"
    return ""


def _grid(parameters: dict[str, Any], file: str, overrides: list[str]) -> str:
    grid = load_parameters(file, overrides=overrides).sweep
    axes = {"M": parameters.get("iterations") or grid.iterations, "K": parameters.get("samples") or grid.samples}
    axes |= {"s": parameters.get("seeds") or grid.seeds}
    return "-".join(f"{letter}{'.'.join(map(str, values))}" for letter, values in axes.items())
