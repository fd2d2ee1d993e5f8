"""Behavioural cloning alone: BC-Base. `evolve` begins with the same steps and reuses their results.

Invariant: nothing is trained on AgentTraj before it has passed the gate.
"""

from __future__ import annotations

from prefect import flow

from agentevol.settings.types import Seed
from flows.evolve import clone as train_bc_base
from flows.expected_errors import fail_in_one_line
from flows.parameters import load_parameters
from flows.pipeline import Pipeline
from flows.run_name import flow_run_name
from flows.run_page import RunPage
from tasks.progress import say


@flow(name="clone", description="Behavioural cloning on AgentTraj, scored on AgentEval.", flow_run_name=flow_run_name)
@fail_in_one_line
def clone(
    params_file: str = "params.yaml",
    seed: Seed | None = None,
    overrides: list[str] = [],  # noqa: B006  (Prefect shows the default in its form)
) -> str:
    """Train BC-Base and return its folder.

    Args:
        params_file: The parameter file, relative to the project.
        seed: The random seed, instead of seed.
        overrides: Further parameters as key=value.
    """
    with RunPage() as page:
        pipeline = Pipeline(load_parameters(params_file, seed=seed, overrides=overrides), page.gate_reports)
        pipeline.check_expert_set("agenttraj")
        policy = train_bc_base(pipeline)
        page.show_scores([policy])
    say(f"model: {policy.model.path}")
    return policy.model.path
