"""The forms of the deployments on Prefect's pages: the description of a parameter also says the value in the parameter file.

Invariant: only descriptions change. An empty field of the form still means the parameter file, also after the file has changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentevol.settings.load import SettingsError, load_params

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

_KEY = re.compile(r"instead of ([a-z_]+(?:\.[a-z_]+)?)")
"""The descriptions of the flows' parameters name the key that they replace."""
_VALUE = re.compile(r" In \S+ now: .*$", re.DOTALL)


def show_values(client: SyncPrefectClient, deployments: Iterable[DeploymentResponse]) -> None:
    """Write the values of the parameter files into the descriptions of these deployments' parameters, where they differ."""
    from prefect.client.schemas.actions import DeploymentUpdate

    for deployment in deployments:
        schema = deployment.parameter_openapi_schema
        if not schema:
            continue
        described = describe(schema, deployment.parameters or {})
        if described != schema:
            client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=described))


def describe(schema: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a flow's parameters with the values of the parameter file; unchanged if the file cannot be used.

    `parameters`: the deployment's own values, among them the parameter file.
    """
    described = deepcopy(dict(schema))
    properties = described.get("properties", {})
    file = parameters.get("params_file") or properties.get("params_file", {}).get("default")
    if file is None:
        return described
    try:
        params = load_params(Path(file), parameters.get("overrides") or []).model_dump(mode="json")
    except SettingsError:
        return described
    for about in properties.values():
        text = _VALUE.sub("", about.get("description") or "")
        if match := _KEY.search(text):
            about["description"] = f"{text} In {file} now: {_text(_value(params, match[1]))}"
    return described


def _value(params: dict[str, Any], key: str) -> Any:
    value: Any = params
    for name in key.split("."):
        value = value[name]
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
