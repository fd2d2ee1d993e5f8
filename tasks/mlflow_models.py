"""Policies as MLflow's logged models, so that its pages list them with their scores and link them to their run.

Invariant: a policy of a run is one logged model, however often the run is continued. No file is copied: the model's tags name its folder in
the store and its SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus

from tasks.policy_record import PolicyRecord

MODEL_TYPE = "policy"


def log_model(client: MlflowClient, experiment: str, run: str, policy: PolicyRecord, params: Mapping[str, Any]) -> str:
    """The id of the run's logged model of this policy, which is created if the run has none."""
    filter_string = f"source_run_id = '{run}' AND name = '{policy.name}'"
    existing = client.search_logged_models([experiment], filter_string, max_results=1)
    if existing:
        model = existing[0]
    else:
        facts: dict[str, Any] = {**params, "policy": policy.label, "iteration": policy.iteration}
        tags = {"sha256": policy.model.digest, "folder": str(policy.model.path)}
        values = {name: str(value) for name, value in facts.items()}
        model = client.create_logged_model(experiment, policy.name, run, tags, values, MODEL_TYPE)
    outputs = client.get_run(run).outputs
    if outputs is None or model.model_id not in [output.model_id for output in outputs.model_outputs]:
        client.log_outputs(run, [LoggedModelOutput(model.model_id, policy.iteration)])
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id)
