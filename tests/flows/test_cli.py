"""The command line: fast, and clear about mistakes before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from agentevol.models import model_digest
from flows import pretrain as pretraining
from flows.cli import command
from flows.evaluate import evaluate
from flows.expected_errors import EXPECTED_ERRORS
from tasks import paths
from tasks.artifact import Artifact
from tasks.learn import base_model
from tests import ROOT
from tests.flows.conftest import Command
from tests.flows.tiny import make_project

HEAVY = ("prefect", "mlflow", "torch", "transformers", "pandas", "great_expectations", "gymnasium")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "flows.cli", *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


def test_help_lists_the_commands(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    for name in (
        "collect",
        "pretrain",
        "clone",
        "evolve",
        "sweep",
        "compare",
        "evaluate",
        "report",
        "view",
        "up",
        "down",
        "status",
        "ui",
        "doctor",
    ):
        assert name in done.stdout


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "flows.cli", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not imported & set(HEAVY)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("evolve.iterations=0", "evolve.iterations"),
        ("evolve.samples=0", "evolve.samples"),
        ("evolve.sample=2", "evolve.sample"),
        ("environments=[chess]", "chess"),
        ("seed", "key=value"),
    ],
)
def test_a_mistake_is_reported_in_one_line_and_nothing_starts(tmp_path: Path, override: str, text: str) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    done = run(tmp_path, "evolve", "-S", override)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert text in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


HOSTED = "{name: G, model: g, url: 'https://host', api_key_env: NOT_SET}"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["evolve"], "model.base: models/base is not a model folder (no config.json)"),
        (["sweep", "-S", "model.base=./elsewhere"], "model.base: elsewhere is not a model folder"),
        (["evaluate", "./mine", "-S", "model.base=base"], "mine is not a model folder"),
        (
            ["evolve", "-S", f"evaluate.baselines=[{HOSTED}]"],
            "evaluate.baselines.0.api_key_env: the environment variable NOT_SET is not set",
        ),
        (
            ["evaluate", "g", "-S", "engine={kind: openai, url: 'https://host', api_key_env: NOT_SET}"],
            "engine.api_key_env: the environment variable NOT_SET is not set; set it to the key of https://host",
        ),
    ],
)
def test_what_is_missing_is_reported_before_anything_starts(tmp_path: Path, arguments: list[str], text: str) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert text in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.fixture
def without_base_model(tiny_project: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """The tiny project without models/base; returns its model as a pretraining leaves it in the store."""
    stored = paths.store() / "pretrain-v1-0123456789abcdef" / "model"
    stored.parent.mkdir(parents=True)
    (tiny_project / "models" / "base").rename(stored)
    (tiny_project / "models").rmdir()
    for variable in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS"):  # `command.check` sets them where they are not set
        monkeypatch.setenv(variable, "1")
    model = base_model(str(stored))
    monkeypatch.setattr(pretraining, "pretrain_base_model", lambda **_: model)
    monkeypatch.setattr("agentevol.pretraining.model_card.add_scores", lambda folder, *_: (folder / "README.md").write_text("scored"))
    return model


@pytest.mark.slow
def test_a_base_model_is_rebuilt_where_there_is_none_and_any_model_is_evaluated(without_base_model: Artifact) -> None:
    command.check(Path("params.yaml"), [], [str(without_base_model.folder)])
    assert evaluate.fn(str(without_base_model.folder))["pushing"]["n"] == 6
    assert not Path("models").exists()
    assert pretraining.pretrain.fn() is None
    assert model_digest(Path("models/base")) == without_base_model.digest
    assert Path("models/base/README.md").read_text() == "scored"


def test_a_mistake_is_reported_before_the_pretraining(without_base_model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining, "pretrain_base_model", None)
    failed: Any = pretraining.pretrain.fn(overrides=["engine={kind: openai, url: 'https://host', api_key_env: NOT_SET}"])
    assert failed.message == "engine.api_key_env: the environment variable NOT_SET is not set; set it to the key of https://host"


def test_a_missing_params_file_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "evolve", "--params", "other.yaml")
    assert done.returncode == 2
    assert "other.yaml" in done.stderr


def test_report_without_a_run_says_how_to_get_one(tmp_path: Path) -> None:
    done = run(tmp_path, "report")
    assert done.returncode == 2
    assert "agentevol evolve" in done.stderr


def test_report_prints_the_table_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "table.txt").write_text("the table [1.0, 2.0]\n")
    done = run(tmp_path, "report", ".")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the table [1.0, 2.0]\n")
    assert "read the episodes: agentevol view ." in done.stdout


@pytest.mark.slow
def test_without_a_home_folder_the_project_has_one(tmp_path: Path) -> None:
    """A container may run as a user without an account; Prefect asks for the home folder when it is imported."""
    no_account = "def getpwuid(uid):\n    raise KeyError(uid)\n\nimport pwd\npwd.getpwuid = getpwuid\n"
    code = "from flows.cli.command import set_quiet_defaults\nset_quiet_defaults()\nimport pathlib, prefect\nprint(pathlib.Path.home())"
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME", "PREFECT_HOME", "DVC_ROOT")}
    done = subprocess.run(
        [sys.executable, "-c", no_account + code],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{tmp_path / '.prefect'}\n", done.stderr


def test_the_hub_is_contacted_only_for_a_name_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, folder = tmp_path / "params.yaml", tmp_path / "model"
    params.write_text(f"model: {{base: {folder}}}\n")
    folder.mkdir()
    (folder / "config.json").touch()
    for models, offline in ([], "1"), ([str(folder)], "1"), (["somebody/something"], None):
        monkeypatch.setattr(os, "environ", {})
        command.check(params, [], models)
        assert os.environ.get("HF_HUB_OFFLINE") == offline
    params.write_text("model: {base: somebody/something}\n")
    monkeypatch.setattr(os, "environ", {})
    command.check(params, [], [str(folder)])
    assert os.environ.get("HF_HUB_OFFLINE") == "1", "the base model is not needed to evaluate another one"


PROXIES = {"http_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks4://127.0.0.1:9"}
"""Nothing listens there."""


def test_no_proxy_for_this_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for given, expected in (
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": ".example.com, localhost"}, ".example.com,localhost,127.0.0.1,::1"),
        ({"no_proxy": "10.0.0.1", "NO_PROXY": ""}, "10.0.0.1,127.0.0.1,localhost,::1"),
    ):
        monkeypatch.setattr(os, "environ", {**PROXIES, **given})
        command.bypass_proxies_for_loopback()
        assert (os.environ["no_proxy"], os.environ["NO_PROXY"]) == (expected, expected)
        assert "ALL_PROXY" not in os.environ
        assert os.environ["http_proxy"] == PROXIES["http_proxy"], "for other machines"
        assert capsys.readouterr().err.startswith("agentevol: ALL_PROXY ignored: a SOCKS proxy needs socks5://")


@pytest.mark.slow
def test_a_flow_runs_behind_a_proxy_that_does_not_answer(agentevol: Command, tmp_path: Path) -> None:
    """Prefect's API is on this machine: its start, its client and its events do without the proxy."""
    done = agentevol(make_project(tmp_path), "collect", **PROXIES)
    assert done.returncode == 0, done.stderr
    assert "agenttraj: 8" in done.stderr


def test_status_and_down_without_running_processes(tmp_path: Path) -> None:
    status = run(tmp_path, "status")
    assert (status.returncode, status.stdout) == (1, "nothing is running; `agentevol up` starts it\n")
    down = run(tmp_path, "down")
    assert (down.returncode, down.stdout) == (0, "nothing was running\n")


def test_up_does_not_start_if_another_server_is_in_use(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "up"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": "http://127.0.0.1:9/api"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("agentevol: PREFECT_API_URL is set")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_token_in_the_address_of_a_server_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "play", "maze", "--server", "http://me:SECRET@127.0.0.1:9")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "AGENTEVOL_TOKEN" in done.stderr
    assert "SECRET" not in done.stderr


def test_a_table_is_printed_on_an_ascii_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    (tmp_path / "table.txt").write_text("50.0 ± 3.0 %\n", encoding="utf-8")
    done = run(tmp_path, "report", ".")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("50.0 ? 3.0 %\n")


@pytest.mark.slow
def test_view_of_nothing_is_reported_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "view", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("agentevol: nowhere: neither a run's folder")


@pytest.mark.parametrize("name", [name for name in EXPECTED_ERRORS if not name.endswith(".SettingsError")])  # its exit code is 2
def test_an_error_that_a_user_can_fix_is_one_message(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, _, attribute = name.rpartition(".")
    error = getattr(import_module(module), attribute)
    with pytest.raises(typer.Exit) as caught, command.expected_errors():
        raise error("do this and that")
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err == "agentevol: do this and that\n"


def test_any_other_error_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), command.expected_errors():
        raise ZeroDivisionError


@pytest.mark.slow
def test_doctor_reports_what_is_missing_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    done = run(tmp_path, "doctor")
    assert done.returncode == 1
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert any(line.startswith("ok  parameters") for line in lines)
    assert any(line.startswith("--  base model") for line in lines)
    assert any("make base-model" in line for line in lines)
    assert any("agentevol collect builds it" in line for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.slow
def test_doctor_downloads_nothing(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("model: {base: somebody/something}\n")
    done = run(tmp_path, "doctor")
    assert "somebody/something: not in the hub's cache here; a run downloads it" in done.stdout
    assert done.stderr == ""
