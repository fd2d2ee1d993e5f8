"""The parameters of a flow, from its parameter file and its arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from agentevol.settings.load import load_params
from agentevol.settings.schema import Params


def load_parameters(
    params_file: str = "params.yaml",
    *,
    iterations: int | None = None,
    samples: int | list[int] | Literal["adaptive"] | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
) -> Params:
    """The parameters of a run; the arguments take precedence over the file. Raises SettingsError with one line."""
    named = {"evolve.iterations": iterations, "evolve.samples": samples, "seed": seed}
    return load_params(Path(params_file), [*overrides, *(f"{key}={value}" for key, value in named.items() if value is not None)])


def evolve_overrides(values: Mapping[str, str | None]) -> list[str]:
    """Overrides for the keys of `evolve` that have a value."""
    return [f"evolve.{key}={value}" for key, value in values.items() if value is not None]
