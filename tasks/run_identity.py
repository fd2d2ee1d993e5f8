"""What makes two runs the same run, and what makes them comparable: keys, names and groups, from the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentevol.data.artifact_folder import digest_json
from agentevol.settings.schema import Params
from agentevol.training.precision import resolve
from tasks.artifact import Artifact

_NO_PART_OF_AN_EXPERIMENT = (
    *("seed", "sweep", "pretrain", "gate", "model", "data.folder", "evaluate.bc_large", "evaluate.baselines"),
    *("evolve.iterations", "evolve.samples", "evolve.merge", "evolve.start_from", "evolve.rule"),
    *("rollout.concurrency", "rollout.num_workers", "rollout.chunk_size", "rollout.max_retries", "rollout.servers"),
    *("engine.url", "engine.api_key_env", "engine.requests_per_minute", "engine.timeout", "engine.max_retries"),
    *("finetune.checkpoint_minutes", "finetune.accelerate_config", "finetune.micro_batch_tokens"),
)
"""What a sweep varies, what only says how and where the work is done, and the base model, which goes by its content."""


def comparable_parameters(params: Params) -> dict[str, Any]:
    """What runs must have in common to be compared by M, K, seed and the other keys of a sweep: dotted keys and JSON values.

    The precision is that which this machine computes in: `auto` differs between machines.
    """
    found = flat(params.model_dump(mode="json")) | {"finetune.precision": resolve(params.finetune.precision)}
    return {key: value for key, value in found.items() if not any(f"{key}.".startswith(f"{one}.") for one in _NO_PART_OF_AN_EXPERIMENT)}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Sections within sections as one, with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


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
    setting = f"K{k_text(params)} {evolve.merge} {evolve.start_from} {evolve.rule} {digest_json(comparable_parameters(params))[:6]}"
    tags = {"evo.setting": setting, "evo.seed": str(params.seed), "evo.environments": " ".join(params.environments)}
    return tags | ({"evo.sweep": sweep} if sweep else {})


def k_text(params: Params) -> str:
    samples = params.evolve.samples
    return ".".join(map(str, samples)) if isinstance(samples, list) else str(samples)
