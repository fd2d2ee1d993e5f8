"""The deployments of prefect.yaml can be loaded and accept their parameters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentevol.settings.load import load_params
from tests import ROOT

DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_a_deployment_loads_and_its_parameters_fit(deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.flows import load_flow_from_entrypoint

    monkeypatch.chdir(ROOT)
    flow = load_flow_from_entrypoint(deployment["entrypoint"])
    assert flow.name == Path(deployment["entrypoint"].partition(":")[0]).stem
    given = flow.validate_parameters(deployment.get("parameters", {}))
    load_params(ROOT / given.get("params_file", "params.yaml"), given.get("overrides", []))


def test_an_unknown_parameter_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.exceptions import ParameterTypeError, SignatureMismatchError
    from prefect.flows import load_flow_from_entrypoint

    monkeypatch.chdir(ROOT)
    flow = load_flow_from_entrypoint("flows/evolve.py:evolve")
    for wrong in ({"sample": 3}, {"samples": "three"}):
        with pytest.raises((ParameterTypeError, SignatureMismatchError)):
            flow.validate_parameters(wrong)


def test_the_deployments_are_those_of_the_documentation_and_no_schedule_is_on() -> None:
    names = {f"{Path(one['entrypoint'].partition(':')[0]).stem}/{one['name']}" for one in DEPLOYMENTS}
    documented = set(re.findall(r"^\| `(\S+)` \|", (ROOT / "docs" / "how-to" / "prefect.md").read_text(), re.MULTILINE))
    assert names == documented
    assert len(names) == len(DEPLOYMENTS)
    schedules = {one["name"]: one["schedules"] for one in DEPLOYMENTS if "schedules" in one}
    assert list(schedules) == ["nightly"]
    assert not any(schedule["active"] for found in schedules.values() for schedule in found)


@pytest.mark.parametrize("name", ["evolve", "sweep", "evaluate", "clone", "collect", "pretrain"])
def test_every_parameter_has_a_description_in_the_form(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema

    monkeypatch.chdir(ROOT)
    schema = parameter_schema(load_flow_from_entrypoint(f"flows/{name}.py:{name}"))
    assert not [key for key, about in schema.properties.items() if not about.get("description")]


def test_a_run_may_miss_three_heartbeats_before_it_is_considered_dead() -> None:
    from flows.up.setup import HEARTBEAT_TIMEOUT

    for one in DEPLOYMENTS:
        assert 3 * int(one["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) == HEARTBEAT_TIMEOUT.seconds
