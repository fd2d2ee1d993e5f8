"""What Prefect's pages show of a run: its name, its scores, the values of the form, and one line if it fails."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from envs import registry
from flows import run_page
from flows.run_name import name_for
from flows.run_page import RunPage
from flows.up.form import describe
from tasks.policy_record import PolicyRecord
from tests.flows.tiny import make_project

CELL_OF_A_SWEEP = ["sweep.iterations=[4]", "sweep.seeds=[0,1]", "seed=2", "evolve.iterations=4", "evolve.samples=1", "evolve.merge=initial"]


@pytest.fixture(autouse=True)
def toy_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.tiny:Pushing")


@pytest.mark.parametrize(
    ("flow", "parameters", "name"),
    [
        ("evolve", {}, "M2-K1-s0"),
        ("evolve", {"iterations": 3, "samples": [1, 2, 3], "seed": 7}, "M3-K1.2.3-s7"),
        ("evolve", {"merge": "none", "params_file": "other.yaml"}, "M2-K4-s0 merge=none other.yaml"),
        ("evolve", {"overrides": ["seed=5", "explore.temperature=1.0"]}, "M2-K1-s5 explore.temperature=1.0"),
        ("evolve", {"overrides": [*CELL_OF_A_SWEEP, "evolve.merge=none"]}, "M4-K1-s2 evolve.merge=none"),
        ("evolve", {"overrides": ["evolve.merge=none", *CELL_OF_A_SWEEP]}, "M4-K1-s2"),
        ("evolve", {"overrides": ["nonsense=1"]}, "wrong parameters nonsense=1"),
        ("sweep", {"samples": [1, 3]}, "M1.2.3.4-K1.3-s0"),
        (
            "sweep",
            {"overrides": ["sweep.seeds=[0, 1]", "sweep.samples=[1]", "explore.temperature=1.0"]},
            "M1.2.3.4-K1-s0.1 explore.temperature=1.0",
        ),
        ("sweep", {"name": "mine", "overrides": ["sweep.seeds=[0, 1]"]}, "mine sweep.seeds=[0, 1]"),
        ("evaluate", {"model": "runs/latest/model"}, "runs/latest/model"),
        ("clone", {"seed": 3}, "seed 3"),
        ("collect", {}, "collect"),
    ],
)
def test_a_run_is_named_after_its_parameters(project: Path, flow: str, parameters: dict[str, Any], name: str) -> None:
    make_project(project)
    (project / "other.yaml").write_text((project / "params.yaml").read_text().replace("iterations: 2", "iterations: 2\n  samples: 4"))
    assert name_for(flow, parameters) == name


def test_a_form_says_the_values_of_the_parameter_file_and_keeps_its_fields_empty(project: Path) -> None:
    from prefect.utilities.callables import parameter_schema

    from flows.evaluate import evaluate
    from flows.evolve import evolve

    make_project(project)
    schema = parameter_schema(evolve).model_dump()
    shown = describe(schema, {})
    about = shown["properties"]["iterations"]
    assert about["description"] == "M, instead of evolve.iterations. In params.yaml now: 2"
    assert about["default"] is None
    assert shown["properties"]["merge"]["description"].endswith(" now: initial")
    assert describe(shown, {}) == shown
    overridden = describe(shown, {"overrides": ["evolve.iterations=5"]})
    assert overridden["properties"]["iterations"]["description"].endswith("evolve.iterations. In params.yaml now: 5")
    assert describe(shown, {"params_file": "missing.yaml"}) == shown
    without = parameter_schema(evaluate).model_dump()
    assert describe(without, {}) == without


def test_the_column_of_all_environments_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[Any] = []
    monkeypatch.setattr(run_page, "_put", lambda kind, key, data, description: tables.append(json.loads(data)))
    score = {"success": 0.5, "success_low": 0.4, "success_high": 0.6, "n": 10}
    RunPage().show_table({"BC-Base": {"overall": score, "maze": score}, "random": {"babyai": score}})
    assert [list(row) for row in tables[0]] == [["policy", "babyai", "maze", "overall"]] * 2
    assert tables[0][1]["overall"] == ""


def test_the_selected_policy_has_a_short_mark_that_leaves_room_for_the_last_column(monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[Any] = []
    monkeypatch.setattr(run_page, "_put", lambda kind, key, data, description: put.append((json.loads(data), description)))
    scores = SimpleNamespace(facts={"overall": {"success": 0.5, "success_low": 0.4, "success_high": 0.6, "n": 10}})
    base, best = (
        cast(PolicyRecord, SimpleNamespace(label=label, scores=scores, validation_scores=scores)) for label in ("BC-Base", "Iteration 1")
    )
    RunPage().show_scores([base, best], best)
    RunPage().show_scores([base, best])
    (marked, note), (unmarked, no_note) = put
    assert [row["policy"] for row in marked] == ["BC-Base", "Iteration 1*"]
    assert note.endswith(" * selected on the validation split, not on AgentEval: the result of the run.")
    assert ([row["policy"] for row in unmarked], "*" in no_note) == (["BC-Base", "Iteration 1"], False)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("name", ["evolve", "sweep", "evaluate", "clone", "collect", "pretrain"])
def test_wrong_overrides_fail_a_run_with_one_line_and_no_traceback(name: str, project: Path, caplog: pytest.LogCaptureFixture) -> None:
    from importlib import import_module

    from agentevol.settings.load import SettingsError

    make_project(project)
    flow = getattr(import_module(f"flows.{name}"), name)
    arguments = {"overrides": ["explore.temprature=1"]} | ({"model": "models/base"} if name == "evaluate" else {})
    state = flow(**arguments, return_state=True)
    assert state.is_failed()
    assert state.message.startswith("explore.temprature")
    assert len(state.message.splitlines()) == 1
    assert not [record for record in caplog.records if record.exc_info or "Traceback" in record.getMessage()]
    with pytest.raises(SettingsError, match="temprature"):
        flow(**arguments)
