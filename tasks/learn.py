"""Tasks that produce models: the embedded base model, and fine-tuning on trajectories.

Invariant: a model is a folder that transformers can load, identified by the digest of its content. The same data, settings and seed on
the same machine give the same digest.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from agentevol.settings.cluster import ClusterParams
from agentevol.settings.effects import key_values
from agentevol.settings.engines import EngineParams
from agentevol.settings.finetune import FinetuneParams
from agentevol.settings.pretrain import PretrainParams
from agentevol.settings.rules import Rule
from agentevol.training.launch import StartProcesses, machines_and_processes
from tasks import paths
from tasks.artifact import Artifact, is_in_store
from tasks.cached_task import TaskOutput, cached_task
from tasks.cluster import Work, compute_on_cluster
from tasks.progress import progress_bar, say


def base_model(name_or_folder: str) -> Artifact:
    """The model that training starts from: a folder, or a name on the Hugging Face hub."""
    from agentevol.models import model_digest, resolve_model

    folder = resolve_model(name_or_folder)
    return Artifact(kind="model", path=paths.record(folder), digest=model_digest(folder))


def endpoint(engine: EngineParams) -> Artifact:
    """A model that an endpoint serves by itself, identified by the endpoint's URL and the model's name there."""
    from agentevol.rollout.engines.openai import endpoint_digest

    return Artifact(kind="endpoint", path=f"{engine.url}#{engine.model}", digest=endpoint_digest(engine))


@cached_task("model", version="1")
def copy_model(out: Path, *, model: Artifact) -> TaskOutput:
    """The model as a result in the store, so that it travels as results do. Its digest stays."""
    shutil.copytree(model.folder, out / "model")
    return TaskOutput(model.digest, "model")


def finetune_policy(*, cluster: ClusterParams, num_threads: int | None, label: str, **inputs: Any) -> Artifact:
    """The task `finetune` with these inputs: computed on nodes of the cluster, or on this machine where there is none.

    `num_threads`: the threads of PyTorch on a node; None: cluster.num_cpus, or as many as on this machine.
    Raises ClusterError, and what the training raises.
    """
    if not cluster.address or not cluster.finetune or finetune.is_stored(**inputs):
        return finetune(**inputs, label=label)
    machines, processes = machines_and_processes(inputs["settings"])
    if machines > 1:
        return finetune(**inputs, nodes=cluster, label=label)
    title = f"fine-tuning {inputs['name']} on the cluster"
    calls = [inputs]
    if cluster.folder:
        if not is_in_store(inputs["base"]):
            calls = [{**inputs, "base": copy_model(model=inputs["base"])}]  # the digest, and so the key, stays the same
        say(f"{title}: its checkpoints stay in {cluster.folder} of its node; on another node it would start again")
    threads = num_threads or cluster.num_cpus or _default_threads()
    work = Work("a training", threads, "model.num_threads", processes=processes, threads=threads, shows_steps=True)
    compute_on_cluster(finetune, calls, cluster, work, title=title)
    return finetune(**inputs, label=label)


def _default_threads() -> int:
    import torch

    return torch.get_num_threads()


@cached_task("model", version="3", ignore=("name", "settings.epochs", "settings.max_steps", "nodes"))
def finetune(
    out: Path,
    *,
    base: Artifact,
    data: Artifact,
    settings: FinetuneParams,
    seed: int,
    rule: Rule,
    name: str,
    epochs: float | None = None,
    max_steps: int | None = None,
    template_kwargs: dict[str, Any] | None = None,
    chat_format: str | None = None,
    objective: dict[str, float] | None = None,
    rule_options: dict[str, Any] | None = None,
    nodes: ClusterParams | None = None,
) -> TaskOutput:
    """The model `name`: `base` fine-tuned for `epochs` over the data, or for `max_steps` optimizer steps.

    `template_kwargs`: variables of the chat template. `chat_format`: ChatTokenizer.format_key; only the key needs it.
    `objective`: what the rewards are made of (FilterParams.objective_weights); None: the environments' own rewards.
    `rule_options`: the arguments of the rule's class. `nodes`: the cluster whose nodes train together, where the file of accelerate names
    several machines.
    Facts: loss curve, tokens, steps, seconds, and the trajectories that were too long.
    """
    from agentevol.models import model_digest
    from agentevol.rollout import workers
    from agentevol.rollout.engines.loaded_model import release_model
    from agentevol.training import launch

    workers.shutdown_workers()  # idle rollout workers hold half a GiB each and a policy, which the training needs
    release_model()
    model = out / "model"
    model.mkdir()
    with progress_bar(f"fine-tuning {name}") as progress:
        facts = launch.finetune(
            base.folder,
            data.folder,
            model,
            settings=settings,
            epochs=epochs,
            max_steps=max_steps,
            seed=seed,
            rule=rule,
            rule_options=rule_options,
            template_kwargs=template_kwargs,
            objective=objective,
            work_dir=paths.root() / "runs" / "learning",
            progress=progress,
            start_processes=_start_on_nodes(nodes, settings, name) if nodes else None,
        )
    checkpoint = facts.pop("checkpoint")
    return TaskOutput(model_digest(model), "model", facts=facts, obsolete=[Path(checkpoint)] if checkpoint else [])


def _start_on_nodes(cluster: ClusterParams, settings: FinetuneParams, name: str) -> StartProcesses:
    from tasks.cluster_training import NodesTraining

    machines, processes = machines_and_processes(settings)
    work = Work("a training", 1, "num_processes in finetune.accelerate_config", processes=processes // machines)
    return NodesTraining(cluster, machines, work, f"fine-tuning {name} on {machines} nodes")


@cached_task("model", version="2", ignore=("settings.start_from",))
def pretrain(out: Path, *, settings: PretrainParams, env_versions: dict[str, int], start: Artifact | None = None) -> TaskOutput:
    """The embedded base model, trained on text from the project's own generators.

    `env_versions`: the versions of the environments that the text comes from. Only the key needs them.
    `start`: the model that the pretraining continues (`settings.start_from`); None: new weights.
    """
    from agentevol.data.artifact_folder import digest_json
    from agentevol.models import model_digest
    from agentevol.pretraining.pretrain import pretrain as pretrain_base_model
    from agentevol.training.launch import ignore_launcher_variables

    ignore_launcher_variables()
    model = out / "model"
    model.mkdir()
    key = digest_json([key_values(settings), env_versions, start.digest if start else None])[:16]
    work_dir = paths.root() / "runs" / "pretraining" / key
    with progress_bar("pretraining") as progress:
        facts = pretrain_base_model(model, settings=settings, work_dir=work_dir, start=start.folder if start else None, progress=progress)
    return TaskOutput(model_digest(model), "model", facts=facts, obsolete=[work_dir])
