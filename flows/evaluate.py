"""Any model on AgentEval: the base model untaught, one from the store, or a name on the Hugging Face hub."""

from __future__ import annotations

from prefect import flow

from flows.page import RunPage
from flows.steps import Job, parameters
from tasks.learn import base_model
from tasks.progress import say


@flow(name="evaluate", description="Score a model on AgentEval.")
def evaluate(
    model: str,
    params_file: str = "params.yaml",
    overrides: list[str] = [],  # noqa: B006  (Prefect shows the default in its form)
) -> dict[str, dict[str, float | None]]:
    """Play AgentEval with a model; returns the scores per environment and overall.

    Args:
        model: A model folder, or a name on the Hugging Face hub.
        params_file: The file of parameters, relative to the project.
        overrides: Further parameters as key=value.
    """
    artifact = base_model(model)
    with RunPage() as page:
        job = Job(parameters(params_file, overrides=overrides), page.gates)
        name = f"model {artifact.digest[:8]}"
        _, scores = job.evaluate(name, artifact, 0)
        page.table({name: scores.facts})
    for env, score in scores.facts.items():
        if score["n"]:
            success, low, high = (100 * score[f"success{part}"] for part in ("", "_low", "_high"))
            say(f"  {env:12} {success:5.1f} % [{low:.1f}, {high:.1f}], n = {score['n']}")
    return scores.facts
