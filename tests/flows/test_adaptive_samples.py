"""`evolve.samples=adaptive` as a user runs it: every iteration has the budget's episodes, and the report says where they went."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.flows.conftest import Command
from tests.flows.tiny import make_project


@pytest.mark.slow
def test_a_run_with_adaptive_samples_spends_its_budget_and_reports_it(agentevol: Command, tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project", evolve={"iterations": 2, "samples": "adaptive", "budget": 24})
    done = agentevol(folder, "evolve")
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs").glob("M2-Kadaptive-s0-*")
    exploration = json.loads((run / "scores.json").read_text())["exploration"]
    assert [sum(group["episodes"] for group in groups) for groups in exploration.values()] == [24, 24]
    assert "Exploration" in (run / "table.txt").read_text()
    again = agentevol(folder, "evolve")
    assert (again.returncode, "exploring with" in again.stderr) == (0, False), "everything is reused"
