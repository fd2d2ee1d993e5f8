"""A training that takes seconds, for the tests of trainings on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentevol.data.dataset import write_dataset
from agentevol.models import model_digest
from agentevol.settings.cluster import ClusterParams
from tasks.artifact import Artifact
from tasks.learn import finetune_policy
from tests.agentevol.training.examples import TRAJECTORIES, finetune_params
from tests.flows.tiny import make_model


def train(project: Path, params: ClusterParams, *, epochs: int = 20, **settings: Any) -> Artifact:
    """Some steps of a tiny model on a few trajectories."""
    if not (project / "model").exists():
        make_model(project / "model")
    episodes = write_dataset(project / "episodes", TRAJECTORIES, {})
    return finetune_policy(
        cluster=params,
        num_threads=1,
        label="bc-base",
        base=Artifact(kind="model", path="model", digest=model_digest(project / "model")),
        data=Artifact(kind="dataset", path="episodes", digest=episodes.digest),
        settings=finetune_params(batch_tokens=512, **settings),
        epochs=epochs,
        seed=0,
        rule="reward_weighted",
        name="bc-base",
    )
