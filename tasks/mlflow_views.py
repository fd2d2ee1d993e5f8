"""The description, the kind and the saved views of an experiment, which MLflow's pages show first.

A view is a tag of the experiment, as MLflow 3.17's pages write it: `mlflow.sharedViewState.<id>` holds JSON with a name, two times and the
state of the page, compressed. Invariant: a view that a user has saved is never changed, nor is a description that a user has edited.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Experiment

from agentevol.data.artifact_folder import digest_json
from tasks.mlflow_metrics import BC_LARGE_PREFIX, BOUNDS, ERRORS, LOSS, REWARD, SUCCESS

VIEW_TAG = "mlflow.sharedViewState."
NOTE_TAG, KIND_TAG = "mlflow.note.content", "mlflow.experimentKind"
DIGEST_TAG = "mlflow.agentevol.views"
"""The digest of what this module has written. MLflow's pages hide tags of this prefix."""
COMPARE, CURVES = "agentevol-compare", "agentevol-curves"
VIEW_NAMES = {COMPARE: "Compare M and K", CURVES: "Learning curves"}
_FIRST_COLUMNS = ("0", "attributes.`Run Name`")
"""The columns that MLflow always shows on the left: the check box and the name."""
_OTHER_SECTION = "Model metrics"
"""MLflow's section of the metrics without a slash, which it adds if it is missing."""
_RUNS_TO_READ = 100
_OVERALL = f"{SUCCESS}/overall"
_COLLAPSED = ("evaluation", "exploration", "training", "time", "tokens", "gain", ERRORS, LOSS, REWARD)


def install_views(client: MlflowClient, experiment: Experiment, environments: Sequence[str]) -> None:
    """Write the views and the description for these environments and those of earlier runs. Repeating it changes nothing."""
    tags = experiment.tags
    known = sorted({*environments, *tags.get(f"{DIGEST_TAG}.environments", "").split()})
    views = {COMPARE: compare_view(known), CURVES: curves_view(known)}
    description = describe(experiment.name, known)
    digest = digest_json([views, description])
    if tags.get(DIGEST_TAG) == digest:
        return
    now = int(time.time() * 1000)
    new = {f"{VIEW_TAG}{name}": envelope(VIEW_NAMES[name], state, now) for name, state in views.items()}
    if tags.get(NOTE_TAG) in (None, description, tags.get(f"{DIGEST_TAG}.description")):  # the second: killed before it was remembered
        new |= {NOTE_TAG: description, f"{DIGEST_TAG}.description": description}
    if KIND_TAG not in tags:  # without it the pages open on the traces
        new[KIND_TAG] = "custom_model_development"
    new |= {f"{DIGEST_TAG}.environments": " ".join(known), DIGEST_TAG: digest}  # last: it says that the others are complete
    for name, value in new.items():
        client.set_experiment_tag(experiment.experiment_id, name, value)


def install_missing_views(client: MlflowClient, experiment: Experiment) -> None:
    """Write the views of an experiment whose runs were recorded before there were any; their success has had the same names."""
    if DIGEST_TAG in experiment.tags:
        return
    runs = client.search_runs([experiment.experiment_id], "tags.`agentevol.environments` LIKE '%'", max_results=_RUNS_TO_READ)
    if environments := {name for run in runs for name in run.data.tags["agentevol.environments"].split()}:
        install_views(client, experiment, sorted(environments))


def experiment_links(page: str) -> list[tuple[str, str]]:
    """(title, link) of the useful pages of an experiment. `page`: such as http://127.0.0.1:5000/#/experiments/1."""
    kind = "workflowType=machine_learning"  # otherwise the pages may show the menu for prompts and judges
    charts = [(name, f"{page}/runs?viewStateShareKey={view}&compareRunsMode=CHART&{kind}") for view, name in VIEW_NAMES.items()]
    return [
        *charts,
        ("Table of all runs", f"{page}/runs?viewStateShareKey={COMPARE}&compareRunsMode=TABLE&{kind}"),
        ("Policies with their scores", f"{page}/models?{kind}"),
        ("Sampled trajectories", f"{page}/traces"),
    ]


def envelope(name: str, state: dict[str, Any], now: int) -> str:
    """A view as the value of its tag. `now`: milliseconds since the epoch."""
    compressed = base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()
    return json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": f"deflate;{compressed}"})


def compare_view(environments: Sequence[str]) -> dict[str, Any]:
    """Parallel coordinates of M, K and success, success over M and over K, and a table with M, K, the seed and the scores."""
    scores = [f"{SUCCESS}/{env}" for env in ("overall", *environments)]
    charts: list[dict[str, Any]] = [
        {"type": "PARALLEL", "selectedParams": ["M", "K"], "selectedMetrics": [_OVERALL], "showAllRuns": True},
        {"type": "SCATTER", "xaxis": _axis("M", "PARAM"), "yaxis": _axis(_OVERALL, "METRIC")},
        {"type": "SCATTER", "xaxis": _axis("K", "PARAM"), "yaxis": _axis(_OVERALL, "METRIC")},
    ]
    columns = [_column("params", name) for name in ("M", "K", "seed", "evolve.merge", "evolve.start_from", "evolve.rule")]
    columns += [_column("metrics", name) for name in (*scores, "gain/over_bc_base", f"{SUCCESS}_{BC_LARGE_PREFIX}/overall")]
    return _state("Compare M and K", charts, environments, columns)


def curves_view(environments: Sequence[str]) -> dict[str, Any]:
    """Success over the iterations with its 95 % interval, one chart per environment."""
    charts = [
        {
            "type": "LINE",
            "metricKey": f"{SUCCESS}/{env}",
            "selectedMetricKeys": [f"{SUCCESS}/{env}", *(f"{SUCCESS}_{bound}/{env}" for bound in BOUNDS)],
            "lineSmoothness": 0,
            "displayPoints": True,
            "scaleType": "linear",
            "range": {"yMin": 0, "yMax": 1},
            "xAxisKey": "step",
            "xAxisScaleType": "linear",
            "selectedXAxisMetricKey": "",
            "yAxisKey": "metric",
            "yAxisExpressions": [],
            "ignoreOutliers": False,
            "useGlobalXaxisKey": False,
            "useGlobalLineSmoothing": False,
        }
        for env in ("overall", *environments)
    ]
    columns = [_column("params", name) for name in ("M", "K", "seed")] + [
        _column("metrics", f"{SUCCESS}/{env}") for env in ("overall", *environments)
    ]
    return _state("Learning curves", charts, environments, columns)


def describe(name: str, environments: Iterable[str]) -> str:
    """The description of an experiment, in Markdown."""
    return (
        f"**{name}**: runs of AgentEvol on {', '.join(environments)}. One run per set of parameters. Its name has M (iterations), K"
        " (episodes per instruction) and the seed. The step of a metric is the iteration: 0 is BC-Base (behavioural cloning), 1 and later"
        " are the iterations of exploration and learning.\n\n"
        "Open *Views* on the page of the runs:\n\n"
        "- **Compare M and K**: parallel coordinates of M, K and success, and a table of all runs.\n"
        "- **Learning curves**: success on AgentEval over the iterations, with 95 % intervals.\n\n"
        "*Models* lists the policies with their scores. *Traces* has some episodes of each policy as conversations."
        " `success/<environment>` is a rate between 0 and 1. The documentation lists every metric (reference: MLflow metrics and tags)."
    )


def _state(title: str, charts: list[dict[str, Any]], environments: Sequence[str], columns: list[str]) -> dict[str, Any]:
    """The state of the page. MLflow adds a section of charts for every other metric; these are listed here because they start collapsed."""
    section = f"{title} (section)"
    collapsed = [*_COLLAPSED, *(f"{SUCCESS}_{suffix}" for suffix in (*BOUNDS, BC_LARGE_PREFIX, "random")), SUCCESS]
    sections = [
        {"uuid": section, "name": title, "display": True, "isReordered": True, "deleted": False, "isGenerated": False, "columns": 2}
    ]
    sections += [
        {"uuid": f"{name} (section)", "name": name, "display": False, "isReordered": False, "deleted": False, "isGenerated": True}
        for name in (*sorted(collapsed), _OTHER_SECTION)
    ]
    common = {"metricSectionId": section, "deleted": False, "isGenerated": False, "runsCountToCompare": 100}
    return {
        "compareRunCharts": [{"uuid": f"{title} {number}", **common, **chart} for number, chart in enumerate(charts)],
        "compareRunSections": sections,
        "isAccordionReordered": True,
        "selectedColumns": columns,
        "columnOrder": [*_FIRST_COLUMNS, *columns],
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
    }


def _column(kind: str, name: str) -> str:
    """A column of the table of runs, as MLflow's pages name it."""
    return f"{kind}.`{name}`"


def _axis(key: str, kind: str) -> dict[str, str]:
    return {"key": key, "type": kind}
