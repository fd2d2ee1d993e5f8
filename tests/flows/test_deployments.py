"""What prefect.yaml deploys can be loaded and called with the parameters that it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from agentevol.params import load_params

ROOT = Path(__file__).parents[2]
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_a_deployment_loads_and_its_parameters_fit(deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.flows import load_flow_from_entrypoint

    monkeypatch.chdir(ROOT)
    flow = load_flow_from_entrypoint(deployment["entrypoint"])
    assert flow.name == Path(deployment["entrypoint"].partition(":")[0]).stem
    given = flow.validate_parameters(deployment.get("parameters", {}))
    load_params(ROOT / given.get("params_file", "params.yaml"), given.get("overrides", []))


def test_a_parameter_that_the_flow_does_not_have_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.exceptions import ParameterTypeError, SignatureMismatchError
    from prefect.flows import load_flow_from_entrypoint

    monkeypatch.chdir(ROOT)
    flow = load_flow_from_entrypoint("flows/evolve.py:evolve")
    for wrong in ({"sample": 3}, {"samples": "three"}):
        with pytest.raises((ParameterTypeError, SignatureMismatchError)):
            flow.validate_parameters(wrong)


def test_deployments_that_write_the_same_results_wait_for_one_another() -> None:
    main = [one for one in DEPLOYMENTS if one["entrypoint"] == "flows/evolve.py:evolve"]
    assert {one["name"] for one in main} == {"main", "small", "nightly"}
    assert all(one["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"} for one in main)
    assert not any(schedule["active"] for one in DEPLOYMENTS for schedule in one.get("schedules", []))
