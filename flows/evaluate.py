"""Any model on AgentEval: the untrained base model, a model from the store, or a name on the Hugging Face hub.

Invariant: a model is scored on the same episodes as the policies of `evolve`, with the same sampling.
"""

from __future__ import annotations

from prefect import flow

from agentevol.report.formatting import format_errors, format_rate
from flows.expected_errors import fail_in_one_line
from flows.parameters import load_parameters
from flows.pipeline import Pipeline
from flows.run_name import flow_run_name
from flows.run_page import RunPage
from tasks.learn import base_model, endpoint
from tasks.policy_record import usage_text
from tasks.progress import say


@flow(name="evaluate", description="Score a model on AgentEval.", flow_run_name=flow_run_name)
@fail_in_one_line
def evaluate(
    model: str,
    params_file: str = "params.yaml",
    overrides: list[str] = [],  # noqa: B006  (Prefect shows the default in its form)
) -> dict[str, dict[str, float | None]]:
    """Evaluate a model on AgentEval; returns the scores per environment and overall.

    Args:
        model: A model folder, or a name on the Hugging Face hub; if engine.kind is openai, the model's name on that server.
        params_file: The parameter file, relative to the project.
        overrides: Further parameters as key=value.
    """
    params = load_parameters(params_file, overrides=overrides)
    is_hosted = params.engine.kind == "openai" and params.engine.weight_sync is None
    engine = params.engine.model_copy(update={"model": model}) if is_hosted else None
    artifact = endpoint(engine) if engine else base_model(model)
    with RunPage() as page:
        pipeline = Pipeline(params, page.gate_reports, with_baselines=False, evaluated=artifact)
        name = f"model {artifact.digest[:8]}"
        episodes, scores = pipeline.evaluate(name, artifact, 0, engine=engine)
        page.show_table({name: scores.facts})
    width = max(12, *map(len, scores.facts))
    for env, score in scores.facts.items():
        if score["n"] or score["errors"]:
            say(f"  {env:{width}} {format_rate(score, digits=1, unit=' %'):>22}, n = {score['n']}{format_errors(score)}")
    if "requests" in episodes.facts:
        say(f"  endpoint usage: {usage_text([episodes.facts])}")
    return scores.facts
