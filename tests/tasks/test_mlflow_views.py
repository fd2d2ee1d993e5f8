"""What an experiment shows before anybody has clicked: two views and a description, written once; what a user has changed stays."""

from __future__ import annotations

import base64
import json
import zlib
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.mlflow_views import COMPARE, CURVES, NOTE_TAG, VIEW_TAG, install_views


class Client:
    """The tags of one experiment; `stop_after`: so many are written before the process is killed."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.written: list[str] = []
        self.stop_after: int | None = None

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        if self.stop_after == len(self.written):
            raise KeyboardInterrupt
        self.tags[key] = value
        self.written.append(key)

    def install(self, *environments: str) -> list[str]:
        """The tags that the call has written."""
        self.written.clear()
        experiment = SimpleNamespace(experiment_id="1", name="agentevol", tags=dict(self.tags))
        install_views(self, experiment, environments)  # type: ignore[arg-type]
        return list(self.written)

    def view(self, name: str) -> dict[str, Any]:
        """The state of a view, as MLflow's pages read it."""
        saved = json.loads(self.tags[VIEW_TAG + name])
        kind, _, compressed = saved["state"].partition(";")
        assert kind == "deflate"
        return dict(json.loads(zlib.decompress(base64.b64decode(compressed))))


def test_an_experiment_gets_two_views_and_a_description_once() -> None:
    client = Client()
    assert client.install("maze", "wordle")
    assert "maze, wordle" in client.tags[NOTE_TAG]
    assert "M (iterations), K (episodes per instruction)" in client.tags[NOTE_TAG]
    compared, curves = client.view(COMPARE), client.view(CURVES)
    assert compared["compareRunCharts"][0]["type"] == "PARALLEL"
    assert compared["compareRunCharts"][0]["selectedParams"] == ["M", "K"]
    assert {"params.`M`", "params.`K`", "params.`seed`", "metrics.`success/overall`"} <= set(compared["selectedColumns"])
    assert [chart["metricKey"] for chart in curves["compareRunCharts"]] == ["success/overall", "success/maze", "success/wordle"]
    assert all(len(chart["selectedMetricKeys"]) == 3 for chart in curves["compareRunCharts"]), "with both bounds of the interval"
    assert client.install("maze", "wordle") == [], "repeating it writes nothing"


def test_environments_of_earlier_runs_stay_in_the_views() -> None:
    client = Client()
    client.install("wordle")
    client.install("maze")
    metrics = [chart["metricKey"] for chart in client.view(CURVES)["compareRunCharts"]]
    assert metrics == ["success/overall", "success/maze", "success/wordle"]
    assert client.install("wordle") == []


def test_what_a_user_has_written_stays() -> None:
    client = Client()
    client.install("maze")
    client.tags |= {NOTE_TAG: "Our ablation.", f"{VIEW_TAG}mine": "a view of the user"}
    client.install("maze", "wordle")
    assert client.tags[NOTE_TAG] == "Our ablation."
    assert client.tags[f"{VIEW_TAG}mine"] == "a view of the user"
    assert "success/wordle" in [chart["metricKey"] for chart in client.view(CURVES)["compareRunCharts"]]


@pytest.mark.parametrize("stop_after", range(6))
def test_after_a_kill_everything_is_written(stop_after: int) -> None:
    complete, client = Client(), Client()
    total = len(complete.install("maze"))
    assert stop_after < total
    client.stop_after = stop_after
    with pytest.raises(KeyboardInterrupt):
        client.install("maze")
    client.stop_after = None
    client.install("maze")
    assert set(client.tags) == set(complete.tags)
    assert client.view(CURVES) == complete.view(CURVES)
