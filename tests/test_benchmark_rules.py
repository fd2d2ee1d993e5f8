"""The experiment on learning rules: its parts are valid and fair, it goes on with what is unfinished, and its tables are of the records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from subprocess import CalledProcessError

import pytest

from agentevol.report.sweep.model import Setting
from agentevol.settings.load import load_params
from agentevol.settings.rules import RULES
from benchmarks import rules
from benchmarks.rules_report import PAIRS, PREVIOUS, TITLES, text
from envs import registry
from flows.learning import check_rule, learning_plan, records_logprobs
from flows.sweep import cells
from tests import ROOT
from tests.agentevol.report.sweeps import seed_result, sweep_of

PARTS = rules.Experiment(ROOT).all_parts()


def test_the_parts_are_valid_and_compare_at_equal_updates_and_equal_episodes() -> None:
    main_job, found = load_params(ROOT / "params.yaml"), set[tuple[str, Setting]]()
    for part in PARTS.values():
        params = load_params(ROOT / rules.PARAMS, part.overrides)
        assert (params.environments, params.model.base) == (main_job.environments, main_job.model.base)
        assert params.data.limits.model_copy(update={"validation": 100}) == main_job.data.limits
        explored = 200 * len(params.environments)
        settings = [cell.setting for cell in cells(params.sweep)]
        for setting in settings:
            samples = "adaptive" if setting.samples == "adaptive" else int(setting.samples)
            evolve = params.evolve.model_copy(update={"rule": setting.rule, "samples": samples, "iterations": 1})
            run = params.model_copy(update={"evolve": evolve})
            check_rule(run)
            assert [learning_plan(run, iteration).epochs for iteration in (0, 1)] == [None, None], "finetune.max_steps decides"
            assert learning_plan(run, 1).settings.max_steps == 216
            assert not records_logprobs(run), "all rules share the exploration"
        if "adaptive" in [setting.samples for setting in settings]:
            assert [params.evolve.budget] == [int(setting.samples) * explored for setting in settings if setting.samples != "adaptive"]
        assert params.sweep.iterations == ([2] if part.comparison == "one-episode" else [1])
        found |= {(part.comparison, setting) for setting in settings}
    assert {setting.rule for comparison, setting in found if (comparison, setting.start_from) == ("rules", "previous")} == set(RULES)
    assert {side for pair in PAIRS.values() for side in pair} == found, "every policy is in a pair"
    assert {part.comparison for part in PARTS.values()} == set(TITLES)


def project(folder: Path) -> rules.Experiment:
    (folder / rules.PARAMS).write_text((ROOT / rules.PARAMS).read_text())
    return rules.Experiment(folder, jobs=2)


def test_it_goes_on_with_unfinished_parts_and_after_one_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sweep(experiment: rules.Experiment, name: str) -> None:
        if name == "base-1":
            raise CalledProcessError(1, "sweep")
        records = experiment.folder / "runs" / "sweeps" / f"rules-{name}" / "records"
        records.mkdir(parents=True)
        (records / f"M1-{name}.json").write_text("{}")

    monkeypatch.setattr(rules.Experiment, "sweep", sweep)
    monkeypatch.setattr(rules, "write_reports", lambda results: None)
    experiment = project(tmp_path)
    assert experiment.run(["rules-0", "base-1", "learned-2"]) == ["base-1"]
    assert experiment.finished() == {"rules-0", "learned-2"}
    assert [file.relative_to(experiment.results / "records").as_posix() for file in sorted(experiment.results.rglob("*.json"))] == [
        "learned/M1-learned-2.json",
        "rules/M1-rules-0.json",
    ]
    late = replace(experiment, seconds=-1.0)
    assert (late.run(["rules-1"]), late.finished()) == ([], {"rules-0", "learned-2"}), "no part is started when the time is over"


def test_the_tables_have_the_pairs_of_the_seeds_that_both_sides_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.tiny:Pushing")
    dpo = replace(PREVIOUS, rule="dpo")
    both = sweep_of(*(seed_result(setting, seed, 1) for setting, seeds in ((PREVIOUS, (0, 1)), (dpo, (0,))) for seed in seeds))
    page = text({"rules": both})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")]
    (pair,) = (row for row in rows if row[0] == "dpo against reward_weighted, from the previous policy")
    old, new = ({row.item_id: row for row in result.policies["Iteration 1"]} for result in (both.results[0], both.results[2]))
    played = [item_id for item_id in old if "error" not in (old[item_id].status, new[item_id].status)]
    assert pair[1] == str(len(played))
    assert pair[3] == str(sum(new[item_id].success and not old[item_id].success for item_id in played))
    assert pair[6] == str(len(played)), "one seed: the instructions that both played"
    assert "threshold against" not in page
    costs = [row for row in rows if row[0].startswith("rules: K = 4, from previous") and row[-1] == "3.0 s"]
    assert [row[0].removeprefix("rules: K = 4, from previous, ") for row in costs] == ["reward_weighted", "dpo (seed 0)"]
