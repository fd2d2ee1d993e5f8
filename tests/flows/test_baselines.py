"""A hosted model as a column of the report, and alone; requested once, with its usage; an unsuitable engine is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentevol.rollout.processes import check_num_engines
from agentevol.settings.engines import BaselineParams
from agentevol.settings.load import SettingsError, load_params
from flows.pipeline import Pipeline
from tasks.artifact import Artifact
from tests import ROOT
from tests.agentevol.endpoint import serve_endpoint
from tests.flows.conftest import Command
from tests.flows.tiny import make_project
from tests.shared import copy_mlflow_database

pytestmark = pytest.mark.slow


def push(messages: list[dict[str, str]]) -> str:
    return "Thought: go\nAction: push"


def test_a_hosted_model_is_a_column_of_the_report_and_can_be_scored_alone(agentevol: Command, tmp_path: Path) -> None:
    with serve_endpoint(answer=push, api_key="k-123") as endpoint:
        hosted = {"name": "Pusher", "url": endpoint.url, "model": "pusher-1", "api_key_env": "PUSHERS_KEY"}
        folder = copy_mlflow_database(tmp_path / "p")
        make_project(folder, evolve={"iterations": 1}, finetune={"epochs": 2.0}, evaluate={"baselines": [hosted], "zero_shot": True})
        done = agentevol(folder, "evolve", PUSHERS_KEY="k-123")
        assert done.returncode == 0, done.stderr
        requests = len(endpoint.bodies)
        engine = ["-S", "engine.kind=openai", "-S", f"engine.url={endpoint.url}", "-S", "engine.api_key_env=OPENAI_API_KEY"]
        alone = agentevol(folder, "evaluate", "pusher-2", *engine, OPENAI_API_KEY="k-123")
        assert "100.0 %" in alone.stderr + alone.stdout
        assert "endpoint usage: " in alone.stderr + alone.stdout
        assert {body["model"] for body in endpoint.bodies[requests:]} == {"pusher-2"}
        swept = agentevol(folder, "sweep", "-S", "sweep.iterations=[1]", "-S", "sweep.samples=[1]", "--name", "one", PUSHERS_KEY="k-123")
        assert swept.returncode == 0, swept.stderr
        assert "| Pusher |" in (folder / "runs" / "sweeps" / "one" / "report.md").read_text()
    latest = folder / "runs" / "latest"
    assert json.loads((latest / "scores.json").read_text())["policies"]["Pusher"]["pushing"]["success"] == 1.0
    table = (latest / "table.txt").read_text()
    assert "AgentEvol (iteration 1) against Pusher" in table
    assert f"Pusher endpoint usage: {requests} requests (0 repeated)" in table
    assert "Pusher" not in (latest / "curve.csv").read_text()
    assert "| environment | n | random | zero-shot | BC-Base | Iteration 1 | Pusher |" in (latest / "table.md").read_text()
    assert "AgentEvol (iteration 1) against zero-shot: " in table
    lineage = json.loads((latest / "run.json").read_text())
    assert lineage["zero-shot"]["model"]["path"] == "models/base"
    assert "Pusher" in json.loads((latest / "baselines.json").read_text())
    assert not [file for file in folder.rglob("*") if file.is_file() and b"k-123" in file.read_bytes()]


class RecordingPipeline(Pipeline):
    """Plays nothing; keeps what an evaluation was asked for."""

    def evaluate(self, *inputs: Any, **options: Any) -> Any:
        self.options = options
        return None, None


def test_a_hosted_model_is_played_without_the_gpus_of_the_run() -> None:
    pipeline = object.__new__(RecordingPipeline)
    pipeline.params = load_params(ROOT / "params.yaml", ["rollout.num_engines=4"])
    pipeline.evaluate_hosted(BaselineParams(name="Pusher", url="http://127.0.0.1:1/v1", model="pusher-1"))
    check_num_engines(pipeline.options["rollout"], pipeline.options["engine"], gpus=())


def test_a_server_that_cannot_load_the_policies_stops_the_run_before_training() -> None:
    pipeline = object.__new__(Pipeline)  # without the datasets, which it does not need here
    pipeline.params = load_params(ROOT / "params.yaml", ["engine={kind: openai, url: 'http://127.0.0.1:1/v1'}"])
    empty = Artifact(kind="trajectories", path="none", digest="none")
    with pytest.raises(SettingsError, match=r"engine\.weight_sync: null given"):
        pipeline.finetune("bc-base", empty, 0)
