"""What a run shows on its page in Prefect: the table of scores, the gate's reports, and the links to MLflow and to what lies on disk.

Invariant: written by the flow's body alone, each artifact once per run: a retry, and a table that has grown, replaces what is there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from prefect.context import FlowRunContext

from agentevol.report.formatting import format_rate
from flows.up.commands import UI_PORT
from flows.up.state import pages_url
from tasks import paths
from tasks.mlflow_store import is_server, shown
from tasks.policy_record import PolicyRecord

SCORES, GATE, LINKS = "scores", "gate", "links"


class RunPage:
    """The page of the run that is going. As a context manager it shows what the gate said however the run ends."""

    def __init__(self) -> None:
        self.gates: dict[str, str] = {}

    def __enter__(self) -> RunPage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.gates and (kind is None or issubclass(kind, Exception)):
            _put("markdown", GATE, _gate_report(self.gates), "What the gate said of every set that was to be learnt from.")

    def scores(self, rounds: Sequence[PolicyRecord]) -> None:
        """A row per policy, a column per environment."""
        self.table({one.label: one.scores.facts for one in rounds})

    def table(self, scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        """`scores`: by policy and environment."""
        rows = [
            {"policy": label, **{env: format_rate(found, missing="") for env, found in facts.items()}} for label, facts in scores.items()
        ]
        _put("table", SCORES, json.dumps(rows), "Success on AgentEval in %, with 95 % intervals.")

    def links(self, *, experiment: str = "", run: str = "", folder: Path | None = None) -> None:
        """Where the rest is: MLflow's pages of the run, and its folder (of a sweep, which is no run: its report)."""
        base = mlflow_url()
        lines = [f"- [This run in MLflow: figures, data, models]({base}/#/experiments/{experiment}/runs/{run})"] if run else []
        if experiment:
            lines += [
                f"- [The curves of all runs]({base}/#/experiments/{experiment}/runs?compareRunsMode=CHART)",
                f"- [Sampled trajectories]({base}/#/experiments/{experiment}/traces)",
            ]
        if folder is not None and run:
            lines += [f"- The report: `{folder}/table.md`", f"- Its episodes, to read: `agentevol view {folder}`"]
        elif folder is not None:
            lines.append(f"- The report: `{folder}`, one page that needs no network")
        lines += ["", f"MLflow's pages are at {base} while `agentevol up` (or `agentevol ui`) has them running."]
        _put("markdown", LINKS, "\n".join(lines), "MLflow and the report.")


def mlflow_url() -> str:
    """MLflow's pages: the tracking server itself, those that are up, or where `agentevol ui` would bring them."""
    uri = paths.tracking_uri()
    if is_server(uri):
        return shown(uri.rstrip("/"))
    return pages_url(Path(os.environ.get("PREFECT_HOME", ".prefect"))) or f"http://127.0.0.1:{UI_PORT}"


def _gate_report(gates: Mapping[str, str]) -> str:
    """Each set's report under its name, the titles one level lower."""
    return "\n\n".join(f"# {name}\n\n{text.replace('# Gate', '## Gate', 1)}" for name, text in gates.items())


def _put(kind: str, key: str, data: str, description: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    run = context.flow_run.id
    with get_client(sync_client=True) as client:
        mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]), key=ArtifactFilterKey(any_=[key]))
        found = client.read_artifacts(artifact_filter=mine)
        if found:
            client.update_artifact(found[0].id, ArtifactUpdate(data=data, description=description))
        else:
            client.create_artifact(ArtifactCreate(key=key, type=kind, data=data, description=description, flow_run_id=run))
