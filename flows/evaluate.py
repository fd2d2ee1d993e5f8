"""Any model on AgentEval: the base model untaught, one from the store, or a name on the Hugging Face hub."""

from __future__ import annotations

from prefect import flow

from agentevol.report.formatting import format_rate
from flows.pipeline import Job, parameters
from flows.run_page import RunPage
from tasks.learn import base_model, endpoint
from tasks.progress import say
from tasks.rollout import BILLED


@flow(name="evaluate", description="Score a model on AgentEval.")
def evaluate(
    model: str,
    params_file: str = "params.yaml",
    overrides: list[str] = [],  # noqa: B006  (Prefect shows the default in its form)
) -> dict[str, dict[str, float | None]]:
    """Play AgentEval with a model; returns the scores per environment and overall.

    Args:
        model: A model folder, or a name on the Hugging Face hub; where engine.kind is openai, the model's name on that server.
        params_file: The file of parameters, relative to the project.
        overrides: Further parameters as key=value.
    """
    params = parameters(params_file, overrides=overrides)
    there = params.engine.kind == "openai" and params.engine.weight_sync is None
    engine = params.engine.model_copy(update={"model": model}) if there else None
    artifact = endpoint(engine) if engine else base_model(model)
    with RunPage() as page:
        job = Job(params, page.gates)
        name = f"model {artifact.digest[:8]}"
        played, scores = job.evaluate(name, artifact, 0, engine=engine)
        page.table({name: scores.facts})
    for env, score in scores.facts.items():
        if score["n"]:
            say(f"  {env:12} {format_rate(score, digits=1, unit=' %'):>22}, n = {score['n']}")
    if "requests" in played.facts:
        requests, repeated, read, wrote = (played.facts[what] for what in BILLED)
        say(f"  asked over the network: {requests:,} requests ({repeated:,} repeated), {read:,} tokens in, {wrote:,} out")
    return scores.facts
