"""A sweep as a user runs it, on the tiny project: cells share work, a kill costs little, one page shows everything."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from agentevol.report.sweep.model import Setting, SweepRun
from agentevol.report.sweep.records import write_records
from agentevol.settings.evolve import SweepParams
from agentevol.settings.load import SettingsError
from envs import registry
from flows.sweep import cells, check_name, short_name, start_order, sweep
from tasks.sweep_report import SWEEPS
from tests import ROOT
from tests.agentevol.report.sweeps import DEFAULT, seed_result, sweep_of
from tests.flows.tiny import make_project
from tests.shared import copy_mlflow_database

PARALLEL = ("-S", "sweep.iterations=[2]", "-S", "sweep.samples=[1,2]", "-S", "sweep.seeds=[0]")
GRID = ("-S", "sweep.iterations=[1,2]", "-S", "sweep.samples=[1,2]", "-S", "sweep.seeds=[0]")
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def swept(agentevol: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = copy_mlflow_database(make_project(tmp_path_factory.mktemp("sweep") / "project"))
    killed = agentevol(project, "sweep", *GRID, KILL_AT="fine-tuning")
    assert killed.returncode == -9
    # A run in a process of its own finds the toy environment as it would find that of another package.
    (project / "sitecustomize.py").write_text("from tests.flows.tiny import register\nregister()\n")
    # The longest runs of the grid in parallel, each in a process of its own; then the whole grid, which finds most of it done.
    parallel = agentevol(project, "sweep", *PARALLEL, "-S", "sweep.concurrency=2", "--name", "parallel", PYTHONPATH=f"{ROOT}:{project}")
    assert parallel.returncode == 0, parallel.stderr
    shutil.rmtree(project / "runs" / "sweeps" / "parallel")
    done = agentevol(project, "sweep", *GRID)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"report: runs/sweeps/M1\.2-K1\.2-s0-[0-9a-f]{6}/report\.html", done.stdout.strip())
    return project


def name(project: Path) -> str:
    (folder,) = (project / "runs" / "sweeps").iterdir()
    return folder.name


def results(project: Path, task: str) -> list[Path]:
    return sorted((project / "runs" / "store").glob(f"{task}-v*"))


def test_the_grid_is_every_combination_once() -> None:
    grid = SweepParams(iterations=[4, 1], samples=[1, [3, 1], "adaptive"], seeds=[0, 1], merge=["initial", "none"])
    found = [(cell.seed, cell.setting.merge, cell.setting.samples, cell.iterations) for cell in cells(grid)]
    assert len(set(found)) == len(found) == 24
    assert found[:2] == [(0, "initial", "1", 1), (0, "initial", "1", 4)]
    assert short_name(grid) == "M4.1-K1.3+1.adaptive-s0.1_initial-none"


def test_chains_that_share_no_policy_start_first() -> None:
    small, large = (Setting(samples, "initial", "base", "reward_weighted") for samples in ("1", "3"))
    chains = [(small, 0), (large, 0), (small, 1), (large, 1), (large, 2)]
    assert start_order(chains) == [(small, 0), (small, 1), (large, 2), (large, 0), (large, 1)]


def test_the_name_of_a_large_grid_fits_into_a_file_name() -> None:
    names = [short_name(SweepParams(iterations=[1, 2], samples=[1], seeds=[*range(start, start + 100)])) for start in (0, 1)]
    assert names[0].startswith("M1.2-K1-sx100_")
    assert names[0] != names[1]
    assert len(short_name(SweepParams(samples=[[*range(1, 101)]] * 1 + [*range(1, 200)], seeds=[*range(1000)]))) <= 120


@pytest.mark.parametrize("name", ["/elsewhere", "../../data", ".", "..", ".hidden", "a/b", "a\nb"])
def test_a_path_is_no_name_because_the_report_would_replace_that_folder(project: Path, name: str) -> None:
    (project / "params.yaml").write_text("{}\n")
    refused: Any = sweep.fn(name=name)
    assert re.match(r"sweep .*: allowed in a name: letters, digits, spaces and", refused.message)
    assert "\n" not in refused.message
    assert [path.name for path in project.iterdir()] == ["params.yaml"]


def test_a_sweep_replaces_the_report_of_the_same_or_fewer_runs_only(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.tiny:Pushing")

    def grid(**axes: Any) -> list[SweepRun]:
        return cells(SweepParams(**{"iterations": [1, 2], "samples": [1], "seeds": [0]} | axes))

    def check(**axes: Any) -> None:
        check_name("größer, lr=1e-3", grid(**axes), {})

    check()
    write_records(SWEEPS / "größer, lr=1e-3" / "records", replace(sweep_of(seed_result(DEFAULT, 0, 2)), runs=grid()))
    check()
    check(iterations=[1, 2, 3], seeds=[0, 1])
    with pytest.raises(SettingsError, match=r"runs that are not in this grid, 2 in all \(M = 1, K = 1, seed 0\), .* choose another name"):
        check(seeds=[1])
    with pytest.raises(SettingsError, match=r"1 in all \(M = 2, K = 1, seed 0\)"):
        check(iterations=[1])
    with pytest.raises(SettingsError, match=r"2 in all \(M = 1, K = 1, seed 0\)"):
        check(samples=[3])


@pytest.mark.slow
def test_shared_work_of_the_cells_is_computed_once(swept: Path) -> None:
    # BC-Base; iterations 1 and 2 of K = 1 and of K = 2: five policies for four runs of together ten.
    assert len(results(swept, "finetune")) == 5
    runs = [json.loads((folder / "run.json").read_text()) for folder in sorted((swept / "runs").glob("M*"))]
    assert len(runs) == 4
    assert len({run["BC-Base"]["model"]["sha256"] for run in runs}) == 1


@pytest.mark.slow
def test_parallel_and_sequential_runs_give_the_same_results(swept: Path, finished_run: Path) -> None:
    (folder,) = (finished_run / "runs").glob("M2-K1-*")
    (same,) = (swept / "runs").glob("M2-K1-*")
    lineages = [json.loads((one / "run.json").read_text()) for one in (folder, same)]
    assert folder.name == same.name
    assert lineages[0] == lineages[1]


@pytest.mark.slow
def test_the_runs_are_flat_in_an_experiment_of_the_sweep(swept: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{swept / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(name(swept))
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["M1-K1-s0", "M1-K2-s0", "M2-K1-s0", "M2-K2-s0"]
    assert {(run.data.params["M"], run.data.params["K"]) for run in runs} == {("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")}


class _Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.titles: list[str] = []
        self.links: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "h2"
        self.links += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href") and tag != "image"]

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.titles.append(data)
            self._in_title = False


@pytest.mark.slow
def test_the_report_shows_everything_and_needs_nothing_else(swept: Path) -> None:
    folder = swept / "runs" / "sweeps" / name(swept)
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    outline = _Outline()
    outline.feed(page)
    assert outline.titles == [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert {"Methods", "The curve over M", "The K comparison", "Paired tests", "Lineage"} <= set(outline.titles)
    assert all(link.startswith("#") for link in outline.links), "nothing is loaded from elsewhere"
    assert "| random |" in text
    assert "| BC-Base |" in text
    assert "AgentEvol, M = 2, K = 2" in text
    assert "All runs have the same merging" in text
    assert "so the sweep took" in text
    for picture in ("methods", "curve-overall", "curve-pushing", "balance"):
        assert f"]({picture}.svg)" in text
        assert (folder / f"{picture}.svg").read_text().startswith("<svg")


@pytest.mark.slow
def test_the_report_of_a_sweep_can_be_made_from_its_records(swept: Path, agentevol: Command) -> None:
    folder = swept / "runs" / "sweeps" / name(swept)
    asked = ("compare", str(folder / "records"), "--title", f"AgentEvol: {name(swept)}")
    done = agentevol(swept, *asked)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "report: runs/compared/report.html"
    again, first = ((place / "report.md").read_text() for place in (swept / "runs" / "compared", folder))
    assert sorted(again.splitlines()) == sorted(first.splitlines())
    refused = agentevol(swept, "compare", str(swept / "params.yaml"))
    assert refused.returncode == 2
    assert "params.yaml: cannot be read as a record" in refused.stderr
    other = agentevol(swept, "sweep", *GRID, "--name", name(swept), "-S", "explore.temperature=0.9")
    assert other.returncode == 2
    assert "a sweep of that name has other parameters (explore.temperature: 0.3 and 0.9)" in other.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_a_browser_shows_the_report_without_an_error_or_a_request(swept: Path) -> None:
    from playwright.sync_api import sync_playwright

    page_file = swept / "runs" / "sweeps" / name(swept) / "report.html"
    errors: list[str] = []
    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri())
        assert page.locator("svg").count() >= 4
        assert page.locator("table").count() >= 6
        assert page.locator("svg").first.bounding_box()["width"] > 300
        browser.close()
    assert errors == []
    assert requests == [page_file.as_uri()]
