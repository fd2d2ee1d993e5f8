"""The embedded base model, rebuilt from the project's own text and put in its place.

Invariant: `models/base` holds a complete model at every moment; it is replaced as a whole, or not at all.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from prefect import flow

from agentevol.data.artifact_folder import atomic_folder
from agentevol.pretraining import model_card
from agentevol.training.precision import resolve_precision
from envs.registry import ENVIRONMENTS, environment_class
from flows.check_parameters import check_parameters
from flows.expected_errors import fail_in_one_line
from flows.parameters import load_parameters
from flows.pipeline import Pipeline
from flows.run_name import flow_run_name
from flows.run_page import RunPage
from tasks.artifact import check_store
from tasks.learn import base_model
from tasks.learn import pretrain as pretrain_base_model
from tasks.progress import say
from tasks.shared_store import use_shared_store

TARGET = Path("models") / "base"


@flow(name="pretrain", description="Rebuild the embedded base model.", flow_run_name=flow_run_name)
@fail_in_one_line
def pretrain(params_file: str = "params.yaml", overrides: list[str] = []) -> None:  # noqa: B006  (Prefect shows the default in its form)
    """Pretrain, score the model on AgentEval without any fine-tuning, and replace models/base.

    Args:
        params_file: The parameter file, relative to the project.
        overrides: Further parameters as key=value, e.g. pretrain.reading_tokens=4000000.
    """
    check_store()
    params = load_parameters(params_file, overrides=overrides)
    check_parameters(params, with_baselines=False, trains=False)  # a mistake ends the run before hours of training
    use_shared_store(params.store.url)
    model = pretrain_base_model(
        settings=params.pretrain.model_copy(update={"precision": resolve_precision(params.pretrain.precision)}),
        env_versions={name: environment_class(name).version for name in sorted(ENVIRONMENTS)},  # it learns the format of all of them
        start=base_model(params.pretrain.start_from) if params.pretrain.start_from else None,
    )
    with RunPage() as page:
        pipeline = Pipeline(params, page.gate_reports, with_baselines=False, evaluated=model)
        _, scores = pipeline.evaluate(f"model {model.digest[:8]}", model, 0)
        page.show_table({"base model, zero-shot": scores.facts})
    with atomic_folder(TARGET) as folder:
        shutil.copytree(model.folder, folder, dirs_exist_ok=True)
        model_card.add_scores(folder, params.pretrain, scores.facts)
    say(f"{TARGET}: sha256 {model.digest[:12]}, {model.facts.get('seconds', 0):.0f} s")
