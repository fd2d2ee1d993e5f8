"""Checks before a run starts, besides the parameters' own: the models' folders, and the keys of hosted models.

Invariant: nothing is imported that takes long (PyTorch only if `rollout.num_engines` is set), and nothing is downloaded. A mistake is a
SettingsError of one line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from agentevol.gpus import visible_gpus
from agentevol.models import ModelNotFound, is_local_path, resolve_model
from agentevol.rollout.processes import UnsupportedEngines, check_num_engines
from agentevol.settings.engines import EndpointParams
from agentevol.settings.load import SettingsError
from agentevol.settings.schema import Params
from agentevol.training.launch import LaunchFailed, check_combinations
from flows.learning import check_rule


def check_parameters(params: Params, models: Sequence[str] = (), *, with_baselines: bool = True, trains: bool = True) -> None:
    """Raise SettingsError if a model's folder, a library or an API key is missing, or settings cannot work together.

    `models`: those that are needed besides the base model. `with_baselines`: whether hosted models are compared with. `trains`: whether
    policies are trained; otherwise another model is only played, and the base model is not needed.
    """
    check_rule(params)
    try:
        check_combinations(params.finetune, on_nodes=bool(params.cluster.address and params.cluster.finetune))
        if params.rollout.num_engines is not None:
            check_num_engines(params.rollout, params.engine, visible_gpus())
    except (LaunchFailed, UnsupportedEngines) as error:
        raise SettingsError(str(error)) from None
    if params.cluster.address and find_spec("ray") is None:
        raise SettingsError("cluster.address: Ray is not installed; pip install 'agentevol[ray]', here and on every node")
    for parameter, library, remedy in _libraries(params, trains):
        if find_spec(library) is None:
            raise SettingsError(f"{parameter}: {library} is not installed; {remedy}")
    cluster = params.cluster
    if cluster.address and cluster.folder and cluster.finetune and params.finetune.accelerate_config:
        raise SettingsError(
            f"finetune.accelerate_config cannot be used with cluster.folder ({cluster.folder}): the processes of a training share a folder;"
            " set cluster.folder to null, or cluster.finetune to false"
        )
    for section, endpoint in _endpoints(params, with_baselines):
        variable = endpoint.api_key_env
        if variable and not os.environ.get(variable, "").strip():
            raise SettingsError(
                f"{section}.api_key_env: the environment variable {variable} is not set; set it to the key of {endpoint.url}"
            )
    base = [("model.base: ", params.model.base)] if trains else []
    for key, name in (*base, *(("", model) for model in models)):
        if is_local_path(name):
            try:
                resolve_model(name)
            except ModelNotFound as error:
                raise SettingsError(f"{key}{error}") from None


def _libraries(params: Params, trains: bool) -> Iterator[tuple[str, str, str]]:
    """The libraries that this machine needs for these parameters: the parameter, the library, and what to do without it."""
    settings, cluster = params.finetune, params.cluster
    if trains and not (cluster.address and cluster.finetune):
        if settings.lora_rank:
            yield "finetune.lora_rank", "peft", "pip install 'agentevol[lora]', or set it to null"
        if settings.optimizer != "adamw":
            yield f"finetune.optimizer {settings.optimizer}", "bitsandbytes", "pip install 'agentevol[gpu]', or set it to adamw"
    if params.engine.kind == "vllm" and not cluster.address:
        yield "engine.kind vllm", "vllm", "install it (docs/how-to/engines.md), or set it to transformers"


def _endpoints(params: Params, with_baselines: bool) -> Iterator[tuple[str, EndpointParams]]:
    if params.engine.kind == "openai":
        yield "engine", params.engine
    for index, baseline in enumerate(params.evaluate.baselines if with_baselines else ()):
        yield f"evaluate.baselines.{index}", baseline
