"""Tasks that make models: the embedded base model, and fine-tuning on trajectories.

Invariant: a model is a folder that transformers can load, known by the digest of its content; the same data, settings and seed on the
same machine give the same digest.
"""

from __future__ import annotations

from pathlib import Path

from agentevol.settings.engines import EngineParams
from agentevol.settings.pretrain import PretrainParams
from agentevol.settings.schema import FinetuneParams
from agentevol.settings.types import Rule
from tasks import paths
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task
from tasks.progress import bar


def base_model(name_or_folder: str) -> Artifact:
    """The model that learning starts from: a folder, or a name on the Hugging Face hub."""
    from agentevol.models import model_digest, resolve_model

    folder = resolve_model(name_or_folder)
    return Artifact(kind="model", path=paths.record(folder), digest=model_digest(folder))


def endpoint(engine: EngineParams) -> Artifact:
    """A model that an endpoint has of its own, named by where it is and what it is called."""
    from agentevol.rollout.engines.openai import endpoint_digest

    return Artifact(kind="endpoint", path=f"{engine.url}#{engine.model}", digest=endpoint_digest(engine))


@cached_task("model", version="3", ignore=("name", "settings.epochs", "settings.max_steps"))
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
    updates: int | None = None,
) -> TaskOutput:
    """The model `name`: `base` after so many `epochs` over the data, or `updates`.

    Facts: loss curve, tokens, steps, what was too long, seconds.
    """
    from agentevol.models import model_digest
    from agentevol.rollout import workers
    from agentevol.training import launch

    workers.shutdown_workers()  # those that played wait with half a GiB each, which the training needs
    model = out / "model"
    model.mkdir()
    with bar(f"fine-tuning {name}") as tick:
        facts = launch.finetune(
            base.folder,
            data.folder,
            model,
            settings=settings,
            epochs=epochs,
            updates=updates,
            seed=seed,
            rule=rule,
            work=paths.root() / "runs" / "learning",
            progress=tick,
        )
    checkpoint = facts.pop("checkpoint")
    return TaskOutput(model_digest(model), "model", facts=facts, obsolete=[Path(checkpoint)] if checkpoint else [])


@cached_task("model", version="1")
def pretrain(out: Path, *, settings: PretrainParams, env_versions: dict[str, int]) -> TaskOutput:
    """The embedded base model, from text made by the project's own generators.

    `env_versions`: the versions of the environments that are played for it, which the key needs; the body does not.
    """
    from agentevol.models import model_digest
    from agentevol.pretraining.pretrain import pretrain as make_base

    model = out / "model"
    model.mkdir()
    with bar("pretraining") as tick:
        facts = make_base(model, settings=settings, progress=tick)
    return TaskOutput(model_digest(model), "model", facts=facts)
