"""Runs that learn from another reward than the environment's: what is kept, what it is weighed by, and what the report shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentevol.data.dataset import read_dataset
from agentevol.data.trajectory import Trajectory
from envs import registry
from envs.base import Instruction
from tests.flows.test_selection import episode
from tests.flows.tiny import make_project

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]


def test_progress_several_objectives_and_a_verifier_decide_what_is_learnt_after_behavioural_cloning(
    mlflow_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(registry.ENVIRONMENTS):
        monkeypatch.delitem(registry.ENVIRONMENTS, name)
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.tiny:Pushing")
    make_project(mlflow_project, finetune={"epochs": 1}, evolve={"iterations": 1})
    from agentevol.models import model_digest
    from agentevol.rollout import rollout
    from agentevol.training import finetune as training
    from flows.evolve import evolve
    from flows.sweep import sweep

    def roll_out(folder: Path, items: Sequence[Instruction], *, split: str, policy: str, **_: Any) -> list[Trajectory]:
        played = [episode(item, split, policy, model_digest(folder), number < 2) for number, item in enumerate(items)]
        return [replace(row, progress=1.0 if row.success else 0.5 * (number % 2)) for number, row in enumerate(played)]

    objectives: list[Any] = []
    monkeypatch.setattr(rollout, "roll_out", roll_out)
    tokenize = training.tokenize_dataset
    monkeypatch.setattr(training, "tokenize_dataset", lambda *args: objectives.append(args[-1]) or tokenize(*args))
    few = ["evaluate.random=false", "data.limits.validation=0", "data.limits.explore=6"]
    folder = Path(evolve(overrides=[*few, "filter={keep: positive, objective: {progress: 1, rounds: -0.01}}"]))
    rows = read_dataset(Path("runs/latest/training-data"))
    kept = [row for row in rows if row.split == "explore"]
    assert sorted(row.progress for row in kept) == [0.5, 0.5, 1.0, 1.0], "the two without progress are worth less than nothing"
    assert objectives == [None, {"progress": 1.0, "rounds": -0.01}]
    text = (folder / "table.txt").read_text()
    assert "Mean progress on AgentEval x 100" in text
    assert "Rounds per success on AgentEval" in text
    assert "objective: progress 1.0, rounds -0.01" in text

    folder = Path(evolve(overrides=[*few, "filter={keep: positive, reward: learned}"]))
    kept = [row for row in read_dataset(Path("runs/latest/training-data")) if row.split == "explore"]
    assert len(kept) == 6
    assert all(0 < row.predicted_success < 1 for row in kept)
    assert objectives[2:] == [{"learned": 1.0}], "behavioural cloning is that of the first run"
    assert "Iteration 1: the verifier of its explored episodes" in (folder / "table.txt").read_text()

    report = Path(sweep(overrides=[*few, "filter={keep: positive, reward: learned}"], iterations=[1], seeds=[0]))
    assert re.search(r"explore \d+ %, judge \d+ %, learn \d+ %", report.with_suffix(".md").read_text()), "the verifier has its time"
