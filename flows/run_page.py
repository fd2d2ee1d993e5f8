"""The page of a run in Prefect: the table of scores, the gate's reports, and links to MLflow and to the files on disk.

Invariant: only the flow's body writes here, each Prefect artifact once per run: a retry or a longer table replaces the existing one.
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
from flows.up.state import MLFLOW_PORT, mlflow_ui_url
from tasks import paths
from tasks.mlflow_store import is_server
from tasks.mlflow_views import experiment_links
from tasks.policy_record import PolicyRecord

SCORES, GATE, LINKS = "scores", "gate", "links"
_MARK = "*"


class RunPage:
    """The page of the current run. As a context manager it shows the gate's reports, whether or not the run fails."""

    def __init__(self) -> None:
        self.gate_reports: dict[str, str] = {}

    def __enter__(self) -> RunPage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.gate_reports and (kind is None or issubclass(kind, Exception)):
            _put("markdown", GATE, _merge_gate_reports(self.gate_reports), "The gate's reports on all training sets.")

    def show_scores(self, policies: Sequence[PolicyRecord], selected: PolicyRecord | None = None) -> None:
        """One row per policy, one column per environment. `selected`: the result of the run, which is marked."""
        marked = selected if selected and selected.validation_scores else None
        note = f"{_MARK} selected on the validation split, not on AgentEval: the result of the run." if marked else ""
        self.show_table({policy.label + (_MARK if policy is marked else ""): policy.scores.facts for policy in policies}, note)

    def show_table(self, scores: Mapping[str, Mapping[str, Mapping[str, Any]]], note: str = "") -> None:
        """`scores`: by policy and environment; the column of all environments together is the last.

        Labels must be short: next to a long one, Prefect's page hides the last column at a width of 1,280 pixels.
        """
        environments = sorted({env for facts in scores.values() for env in facts}, key=lambda env: (env == "overall", env))
        rows = [
            {"policy": label, **{env: format_rate(facts[env], missing="") if env in facts else "" for env in environments}}
            for label, facts in scores.items()
        ]
        _put("table", SCORES, json.dumps(rows), f"Success on AgentEval in %, with 95 % intervals. {note}".rstrip())

    def show_links(self, *, experiment: str = "", run: str = "", folder: Path | None = None) -> None:
        """Links to the run's pages in MLflow and to its folder (for a sweep, which has no MLflow run: to its report)."""
        base = mlflow_url()
        lines = [f"- [This run in MLflow: metrics, data, models]({base}/#/experiments/{experiment}/runs/{run})"] if run else []
        if experiment:
            lines += [f"- [{title}]({link})" for title, link in experiment_links(f"{base}/#/experiments/{experiment}")]
        if folder is not None and run:
            lines += [f"- The report: `{folder}/table.md`", f"- Its episodes, to read: `agentevol view {folder}`"]
        elif folder is not None:
            lines.append(f"- The report: `{folder}`, one page that needs no network")
        lines += ["", f"MLflow's pages are at {base} while `agentevol up` (or `agentevol ui`) serves them."]
        _put("markdown", LINKS, "\n".join(lines), "MLflow and the report.")


def mlflow_url() -> str:
    """The URL of MLflow's pages: the tracking server, the running pages of `agentevol up`, or the default of `agentevol ui`."""
    uri = paths.tracking_uri()
    if is_server(uri):
        return paths.without_password(uri.rstrip("/"))
    return mlflow_ui_url(Path(os.environ.get("PREFECT_HOME", ".prefect"))) or f"http://127.0.0.1:{MLFLOW_PORT}"


def _merge_gate_reports(reports: Mapping[str, str]) -> str:
    """Each report under its dataset's name, with its title one level lower."""
    return "\n\n".join(f"# {name}\n\n{text.replace('# Gate', '## Gate', 1)}" for name, text in reports.items())


def _put(kind: str, key: str, data: str, description: str) -> None:
    """Create the Prefect artifact of the current run, or replace it."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    run = context.flow_run.id
    with get_client(sync_client=True) as client:
        same_key = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]), key=ArtifactFilterKey(any_=[key]))
        existing = client.read_artifacts(artifact_filter=same_key)
        if existing:
            client.update_artifact(existing[0].id, ArtifactUpdate(data=data, description=description))
        else:
            client.create_artifact(ArtifactCreate(key=key, type=kind, data=data, description=description, flow_run_id=run))
