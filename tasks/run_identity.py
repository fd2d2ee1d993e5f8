"""The identity of a run: its key, its name and its groups, derived from the parameters.

Invariant: two runs with the same key have the same results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentevol.data.artifact_folder import digest_json
from agentevol.settings.effects import all_values, comparable_parameters
from agentevol.settings.schema import Params
from agentevol.training.precision import resolve_precision
from tasks.artifact import Artifact

_MAX_SAMPLES_TEXT = 100
_NOT_OF_THE_RESULTS = ("model", "pretrain", "sweep", "store", "cluster")
"""Sections that cannot change a run's results; the base model counts by its content."""


def run_key(params: Params, base: Artifact, provenance: Mapping[str, Any]) -> str:
    """The digest of all that decides a run's results: every parameter, the content of the base model, and the provenance.

    A default that was added later is left out: the run before it existed is the same run.

    MLflow keeps one value per metric and step, so whatever may change a value must change the key.
    """
    values = {name: value for name, value in all_values(params).items() if name not in _NOT_OF_THE_RESULTS}
    return digest_json({"params": values, "base": base.digest, "provenance": provenance})


def run_name(params: Params) -> str:
    """M4-K1-s0, or M4-K3.2.1-s0 for a schedule of samples; a long one is abbreviated, because the name becomes a folder's."""
    samples = samples_text(params)
    if len(samples) > _MAX_SAMPLES_TEXT:
        samples = f"{samples[:_MAX_SAMPLES_TEXT].rpartition('.')[0]}..."
    return f"M{params.evolve.iterations}-K{samples}-s{params.seed}"


def group_tags(params: Params, sweep: str = "") -> dict[str, str]:
    """Tags to group runs by in MLflow's pages. The setting is everything but M and the seed: its runs form a curve over M.

    Six digits of a digest stand for the parameters that no sweep varies.
    """
    evolve = params.evolve
    others = digest_json(comparable_parameters(params, resolve_precision(params.finetune.precision)))[:6]
    setting = f"K{samples_text(params)} {evolve.merge} {evolve.start_from} {evolve.rule} {others}"
    tags = {"agentevol.setting": setting, "agentevol.seed": str(params.seed), "agentevol.environments": " ".join(params.environments)}
    return tags | ({"agentevol.sweep": sweep} if sweep else {})


def samples_text(params: Params) -> str:
    samples = params.evolve.samples
    return ".".join(map(str, samples)) if isinstance(samples, list) else str(samples)
