"""The names of runs on Prefect's pages, made of the parameters that distinguish a run.

Invariant: wrong parameters never fail here; the flow reports them.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from agentevol.settings.load import SettingsError
from flows.parameters import evolve_overrides, load_parameters
from tasks.run_identity import run_name

DEFAULT_FILE = "params.yaml"
_NAMED = {"evolve": ("evolve.iterations", "evolve.samples", "seed"), "sweep": ("sweep.iterations", "sweep.samples", "sweep.seeds")}
"""The parameters that the first part of a name says already."""


def flow_run_name() -> str:
    """The name of the current run, from its flow and its parameters."""
    from prefect.runtime import flow_run

    return name_for(str(flow_run.flow_name), flow_run.parameters or {})


def name_for(flow: str, parameters: dict[str, Any]) -> str:
    """`evolve`: M4-K1-s0; `sweep`: its name, or M1.2-K1.3-s0.1; `evaluate`: the model. Then the parameter file and the other overrides."""
    file, overrides = parameters.get("params_file") or DEFAULT_FILE, list(parameters.get("overrides") or [])
    parts = [_subject(flow, parameters, file, overrides)]
    parts += [file] if file != DEFAULT_FILE else []
    said = () if flow == "sweep" and parameters.get("name") else _NAMED.get(flow, ())
    return " ".join(part for part in [*parts, *_changes(flow, file, overrides, said)] if part)[:200] or flow


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


def _changes(flow: str, file: str, overrides: list[str], said: tuple[str, ...]) -> list[str]:
    """The overrides that a name still has to say: the last of each key, unless the name says it or it has the value of the file.

    The runs of a sweep get the sweep's overrides, its axes among them, and every value of their cell.
    """
    last = {override.partition("=")[0]: override for override in overrides}
    unsaid = {key: text for key, text in last.items() if key not in said and not (flow == "evolve" and key.startswith("sweep."))}
    unchanged = _values_of(file, tuple(unsaid))
    return [text for text in unsaid.values() if text not in unchanged]


def _values_of(file: str, keys: tuple[str, ...]) -> list[str]:
    """What the parameter file has for `keys`, as overrides."""
    try:
        params = load_parameters(file) if keys else None
        return [f"{key}={attrgetter(key)(params)}" for key in keys]
    except (SettingsError, AttributeError):
        return []
