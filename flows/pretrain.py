"""The embedded base model, made again from the project's own text and put in its place.

Invariant: `models/base` holds a whole model at every moment; it is replaced at once, or not at all.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from prefect import flow

from agentevol.data.artifact_folder import atomic_folder
from agentevol.training.precision import resolve
from envs.registry import ENVIRONMENTS, environment_class
from flows.pipeline import parameters
from tasks.learn import pretrain as make_base
from tasks.progress import say

PLACE = Path("models") / "base"


@flow(name="pretrain", description="Make the embedded base model again.")
def pretrain(params_file: str = "params.yaml", overrides: list[str] = []) -> None:  # noqa: B006  (Prefect shows the default in its form)
    """Pretrain, then replace models/base.

    Args:
        params_file: The file of parameters, relative to the project.
        overrides: Further parameters as key=value, e.g. pretrain.reading_steps=1000.
    """
    params = parameters(params_file, overrides=overrides)
    model = make_base(
        settings=params.pretrain.model_copy(update={"precision": resolve(params.pretrain.precision)}),
        env_versions={name: environment_class(name).version for name in sorted(ENVIRONMENTS)},  # it learns how all of them speak
    )
    with atomic_folder(PLACE) as place:
        shutil.copytree(model.folder, place, dirs_exist_ok=True)
    say(f"{PLACE}: sha256 {model.digest[:12]}, {model.facts.get('seconds', 0):.0f} s")
