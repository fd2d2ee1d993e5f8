"""A hosted model as a column of the report, and alone; asked once, its cost told, its refusal one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.agentevol.endpoint import serving
from tests.flows.conftest import Command
from tests.flows.tiny import make_project

pytestmark = pytest.mark.slow


def push(messages: list[dict[str, str]]) -> str:
    return "Thought: go\nAction: push"


def test_a_hosted_model_is_a_column_of_the_report_and_is_asked_once(agentevol: Command, tmp_path: Path) -> None:
    with serving(say=push, key="k") as endpoint:
        hosted = {"name": "Pusher", "url": endpoint.url, "model": "pusher-1", "key_from": "PUSHERS_KEY"}
        finetune = {"epochs": 2.0}
        folder = make_project(tmp_path / "p", evolve={"iterations": 1}, finetune=finetune, evaluate={"baselines": [hosted]})
        done = agentevol(folder, "evolve", PUSHERS_KEY="k")
        assert done.returncode == 0, done.stderr
        asked = len(endpoint.seen)
        again = agentevol(folder, "evolve", PUSHERS_KEY="k")
        assert again.returncode == 0, again.stderr
        assert len(endpoint.seen) == asked > 0
        alone = agentevol(
            folder, "evaluate", "pusher-1", "-S", "engine.kind=openai", "-S", f"engine.url={endpoint.url}", OPENAI_API_KEY="k"
        )
        assert "pushing      100.0 %" in alone.stderr + alone.stdout
        assert "asked over the network" in alone.stderr + alone.stdout
        endpoint.always = 404
        refused = agentevol(folder, "evaluate", "gone", "-S", "engine.kind=openai", "-S", f"engine.url={endpoint.url}", OPENAI_API_KEY="k")
        assert refused.returncode == 1
        assert "refused 'gone' with 404" in refused.stderr.splitlines()[-1]
        never = agentevol(folder, "clone", "-S", "engine.kind=openai", "-S", f"engine.url={endpoint.url}")
        assert "engine.refresh: null given" in never.stderr.splitlines()[-1]
    latest = folder / "runs" / "latest"
    assert json.loads((latest / "scores.json").read_text())["policies"]["Pusher"]["pushing"]["success"] == 1.0
    table = (latest / "table.txt").read_text()
    assert "Pusher" in table
    assert "AgentEvol (iteration 1) against Pusher" in table
    assert f"Pusher was asked over the network: {asked} requests (0 repeated)" in table
    assert "Pusher" not in (latest / "curve.csv").read_text()
    assert "Pusher" in json.loads((latest / "baselines.json").read_text())
    everything = b"".join(
        file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.suffix in {".json", ".txt", ".md", ".log"}
    )
    assert b"Bearer" not in everything
