"""Behavioural cloning alone: BC-Base. `evolve` begins with the same steps and takes over their results."""

from __future__ import annotations

from prefect import flow

from agentevol.settings.types import Natural
from flows.evolve import clone as clone_expert
from flows.pipeline import Job, parameters
from flows.run_page import RunPage
from tasks.progress import say


@flow(name="clone", description="Behavioural cloning of AgentTraj, scored on AgentEval.")
def clone(
    params_file: str = "params.yaml",
    seed: Natural | None = None,
    overrides: list[str] = [],  # noqa: B006  (Prefect shows the default in its form)
) -> str:
    """Train BC-Base and return its folder.

    Args:
        params_file: The file of parameters, relative to the project.
        seed: The seed of everything random, instead of seed.
        overrides: Further parameters as key=value.
    """
    with RunPage() as page:
        job = Job(parameters(params_file, seed=seed, overrides=overrides), page.gates)
        job.expert_gate("agenttraj")
        done = clone_expert(job)
        page.scores([done])
    say(f"model: {done.model.path}")
    return done.model.path
