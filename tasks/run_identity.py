"""What makes two runs the same run, and what makes them comparable: keys, names and groups, from the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentevol.data.artifact_folder import digest_json
from agentevol.settings.effects import comparable_parameters
from agentevol.settings.schema import Params
from agentevol.training.precision import resolve
from tasks.artifact import Artifact


def run_key(params: Params, base: Artifact, made_from: Mapping[str, Any]) -> str:
    """What makes a run the same run: every parameter, the base model's content instead of its name, and what else decides its figures.

    A run in MLflow never gets a second figure for a step, so whatever may change a figure must make it another run.
    """
    values = params.model_dump(mode="json", exclude={"model", "pretrain", "sweep"})
    return digest_json({"params": values, "base": base.digest, "made_from": made_from})


def run_name(params: Params) -> str:
    """M4-K1-s0, or M4-K3.2.1-s0 for a schedule of samples."""
    return f"M{params.evolve.iterations}-K{k_text(params)}-s{params.seed}"


def groups(params: Params, sweep: str = "") -> dict[str, str]:
    """Tags to group runs by in MLflow's pages: everything but M and the seed is the setting, whose runs make a curve over M.

    What no sweep varies is in it as six digits of a digest.
    """
    evolve = params.evolve
    rest = digest_json(comparable_parameters(params, resolve(params.finetune.precision)))[:6]
    setting = f"K{k_text(params)} {evolve.merge} {evolve.start_from} {evolve.rule} {rest}"
    tags = {"evo.setting": setting, "evo.seed": str(params.seed), "evo.environments": " ".join(params.environments)}
    return tags | ({"evo.sweep": sweep} if sweep else {})


def k_text(params: Params) -> str:
    samples = params.evolve.samples
    return ".".join(map(str, samples)) if isinstance(samples, list) else str(samples)
