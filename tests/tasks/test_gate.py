"""The gate's coverage is measured against the environments' splits, also where `data.limits` takes a part of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentevol.gate.gate import GateFailed
from agentevol.settings.gate import GateParams
from envs import registry
from tasks.artifact import Artifact
from tasks.collect import collect, subset_instructions, subset_trajectories
from tasks.gate import validate
from tasks.learn import base_model
from tests.flows.tiny import make_project


def test_a_set_with_fewer_instructions_than_its_limit_is_not_compared_with_itself(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.tiny:Pushing")
    make_project(project)
    data = collect.fn("data", ["pushing"])
    instructions = subset_instructions.compute(data=data["agenteval"], split="eval", environments=["pushing"], limit=None)

    def check(limit: int) -> str:
        few = subset_trajectories.compute(data=data["agenttraj"], environments=["pushing"], limit=limit)
        result = validate.compute(
            data=Artifact(**few),
            evaluation=Artifact(**instructions),
            limit=GateParams(min_coverage=1),
            tokenizer=base_model("models/base"),
            expert=True,
            environments=["pushing"],
            coverage_sets=[],
            expert_limits={"train": 8},
            env_versions={"pushing": 1},
        )
        return str(result["facts"]["markdown"])

    with pytest.raises(GateFailed, match=r"coverage: pushing, \d: \d of \d covered, below 1"):
        check(2)
    assert "# Gate: passed" in check(8)
