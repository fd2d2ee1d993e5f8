"""A run whose policies call functions: the expert set is converted, and exploring, the gate, training and evaluation follow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentevol.data.action_format import convert, format_of
from agentevol.data.dataset import read_dataset
from envs import registry
from tests.flows.tiny import make_project

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]

SMALL = ["data.limits.explore=4", "data.limits.eval=2", "data.limits.validation=0"]


def test_a_run_whose_policies_call_functions(mlflow_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.evolve import evolve

    for name in list(registry.ENVIRONMENTS):
        monkeypatch.delitem(registry.ENVIRONMENTS, name)
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.tiny:Pushing")
    lengths = {"context_length": 1000, "max_new_tokens": 20}
    project = make_project(mlflow_project, rollout=lengths, finetune={"epochs": 1, "max_tokens": 1000}, gate={"max_tokens": 1000})
    config = project / "models" / "base" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 1000}))
    evolve(overrides=["agent.format=function_calling", "evolve.iterations=1", "evaluate.random=false", *SMALL])
    experts = read_dataset(next(project.glob("runs/store/convert-answers-*")) / "dataset")
    recorded = read_dataset(project / "data" / "agenttraj")
    by_item = {trajectory.item_id: trajectory for trajectory in recorded}
    converted = [trajectory for trajectory in experts if trajectory.split == "train"]
    if converted:
        assert [convert(trajectory, "react").messages for trajectory in converted] == [by_item[t.item_id].messages for t in converted]
    played = [trajectory for folder in project.glob("runs/store/concatenate-chunks-*") for trajectory in read_dataset(folder / "dataset")]
    assert played
    assert {format_of(trajectory.messages) for trajectory in [*experts, *played]} == {"function_calling"}
    assert all(trajectory.status != "error" for trajectory in played)
