"""Records of runs: a report from records is the same as one from the runs, and records that cannot be compared are refused."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from agentevol.data.trajectory import Message, Trajectory
from agentevol.evaluation.scores import score
from agentevol.report.formatting import format_rate
from agentevol.report.sweep.model import SeedResult, Setting, StepCost, Sweep, SweepRun
from agentevol.report.sweep.records import SCHEMA, RecordError, read_records, write_records
from agentevol.report.sweep.section import Table
from agentevol.report.sweep.sections import sections
from agentevol.report.sweep.write import compare_records, write_sweep_report
from agentevol.settings.effects import flatten
from agentevol.settings.schema import Params
from envs import registry
from tests import ROOT
from tests.flows.tiny import Pushing

DEFAULT = Setting("1", "initial", "base", "reward_weighted")
THREE_SAMPLES = Setting("3", "initial", "base", "reward_weighted")


@pytest.fixture(autouse=True)
def _toy_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.tiny:Pushing")


def seed_result(setting: Setting, seed: int, iterations: int) -> SeedResult:
    """BC-Base and BC-Large depend on the seed only, not on the setting, as in a sweep."""

    def draw(label: str) -> random.Random:
        return random.Random(f"{seed} {label} {'' if label.startswith('BC') else setting}")

    labels = ["BC-Base", *(f"Iteration {number}" for number in range(1, iterations + 1)), "BC-Large"]
    return SeedResult(
        setting,
        seed,
        policies={label: episodes(draw(label), label) for label in labels},
        kept={f"Iteration {number}": frozenset({"pushing_7", "pushing_8"}) for number in range(1, iterations + 1)},
        lineage={label: {"model": {"path": f"runs/store/{label}", "sha256": "ab" * 32, "rows": {}}} for label in labels},
    )


def episodes(draw: random.Random, label: str) -> list[Trajectory]:
    return [episode(instruction.item_id, draw, label) for instruction in Pushing.instructions("eval")]


def episode(item_id: str, draw: random.Random, label: str) -> Trajectory:
    success = draw.random() < 0.4
    status = "finished" if success else draw.choice(("finished", "truncated", "error"))
    words = [Message("user", "Push."), Message("assistant", f"Action: wait | {label}", True)]
    return Trajectory(item_id, "pushing", "push", "eval", label, "", 0, 0, words, float(success), success, draw.randint(1, 4), status)


def sweep_of(*results: SeedResult) -> Sweep:
    runs = [
        SweepRun(
            result.setting,
            len(result.curve) - 1,
            result.seed,
            f"runs/{result.seed}",
            [StepCost("BC-Base", "learn", f"a{result.seed}", 3.0, 0, 0, 70)],
        )
        for result in results
    ]
    explored = [("pushing", instruction.difficulty, instruction.item_id) for instruction in Pushing.instructions("explore")]
    return Sweep(results, runs, episodes(random.Random(5), "random"), explored, {"commit": "abc", "machine": "two cores"})


@pytest.mark.slow
def test_a_report_from_records_is_the_report_from_the_runs(tmp_path: Path) -> None:
    sweep = sweep_of(seed_result(DEFAULT, 0, 3), seed_result(DEFAULT, 1, 3), seed_result(THREE_SAMPLES, 0, 2))
    files = write_records(tmp_path / "records", sweep)
    assert [file.name for file in files] == [
        "M3-K1-initial-base-reward-weighted-s0.json",
        "M3-K1-initial-base-reward-weighted-s1.json",
        "M2-K3-initial-base-reward-weighted-s0.json",
    ]
    write_sweep_report(tmp_path / "runs", sweep, "Title")
    compare_records([tmp_path / "records"], tmp_path / "compared", "Title")
    for name in ("report.md", "report.html", "curve-overall.svg", "methods.svg"):
        assert sorted((tmp_path / "compared" / name).read_text().splitlines()) == sorted(
            (tmp_path / "runs" / name).read_text().splitlines()
        )


def test_rates_with_errors_as_failures_are_shown_where_there_are_errors() -> None:
    result = seed_result(DEFAULT, 0, 1)
    sweep, cloned = sweep_of(result), result.policies["BC-Base"]
    rows = {label: cells for label, *cells in sections(sweep)[0].tables[2].rows}
    assert any(episode.status == "error" for episode in cloned)
    assert rows["BC-Base"][0].startswith(f"{100 * sum(episode.success for episode in cloned) / len(cloned):.1f} [")
    for policy in (*result.policies.values(), sweep.random):
        for played in policy:
            played.status = "finished"
    assert len(sections(sweep)[0].tables) == 2


def test_records_of_two_machines_make_one_report_and_other_files_are_kept(tmp_path: Path) -> None:
    write_records(tmp_path / "here", sweep_of(seed_result(DEFAULT, 0, 2)))
    write_records(tmp_path / "there", replace(sweep_of(seed_result(DEFAULT, 1, 2)), meta={"commit": "abc", "machine": "a GPU"}))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.md").write_text("mine")
    compare_records([tmp_path / "here", *(tmp_path / "there").glob("*.json")], tmp_path / "out", "Both")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| machine | two cores; a GPU |" in text
    assert "| commit | abc |" in text
    assert "Success on AgentEval in %, 2 seeds, with 95 % intervals" in text
    assert (tmp_path / "out" / "notes.md").read_text() == "mine"


def test_policies_are_compared_after_the_number_of_iterations_that_all_runs_have() -> None:
    longer, shorter = seed_result(DEFAULT, 0, 6), seed_result(THREE_SAMPLES, 0, 4)
    by_title = {part.title: part for part in sections(sweep_of(longer, shorter))}
    methods: Table = by_title["Methods"].tables[0]
    assert [row[0] for row in methods.rows][2:4] == ["AgentEvol, M = 4, K = 1", "AgentEvol, M = 4, K = 3"]
    assert "after 4 iterations" in by_title["The K comparison"].text
    gained = sum(new.success and not old.success for new, old in both(shorter.policies["Iteration 4"], longer.policies["Iteration 4"]))
    assert by_title["The K comparison"].tables[0].rows[0][3] == str(gained)
    assert len(by_title["The curve over M"].tables[0].header) == 2 + 6


def test_a_setting_without_all_seeds_is_labelled_and_compared_with_bc_large_of_its_seed() -> None:
    one_seed = seed_result(THREE_SAMPLES, 0, 2)
    one_seed = replace(one_seed, policies={label: rows for label, rows in one_seed.policies.items() if label != "BC-Large"})
    by_title = {part.title: part for part in sections(sweep_of(seed_result(DEFAULT, 0, 3), seed_result(DEFAULT, 1, 2), one_seed))}
    names = [row[0] for row in by_title["Methods"].tables[0].rows]
    assert names == ["random", "BC-Base", "AgentEvol, M = 2, K = 1", "AgentEvol, M = 2, K = 3 (seed 0)", "BC-Large"]
    default, three_samples = by_title["The curve over M"].tables[0].rows
    assert (default[4].endswith(" (seed 0)"), default[3].endswith("]"), three_samples[4]) == (True, True, "-")
    tested = {row[0]: row for row in by_title["Paired tests"].tables[0].rows}
    shared = seed_result(DEFAULT, 0, 3).policies["BC-Large"]
    gained = sum(new.success and not old.success for new, old in both(one_seed.policies["Iteration 2"], shared))
    assert tested["AgentEvol, M = 2, K = 3 (seed 0) against BC-Large: overall"][3] == str(gained)


@pytest.mark.slow
def test_rates_are_compared_on_the_seeds_that_all_settings_have() -> None:
    merged = replace(DEFAULT, merge="none")
    results = [seed_result(DEFAULT, 0, 2), seed_result(DEFAULT, 1, 2), seed_result(THREE_SAMPLES, 1, 2), seed_result(merged, 0, 2)]
    by_title = {part.title: part for part in sections(sweep_of(*results))}
    rate = format_rate(score(results[1].policies["Iteration 2"])["overall"])
    rates = by_title["The K comparison"].tables[1]
    assert (rates.header[0], [row[0] for row in rates.rows]) == ("success, seed 1", ["K = 1", "K = 3"])
    assert rates.rows[0][-1] == rate != by_title["Methods"].tables[0].rows[2][-1]
    assert "All environments, seed 1" in by_title["The K comparison"].figures["curve-samples"]
    rates = by_title["Merging, starting point and rule"].tables[1]
    assert (rates.header[0], [row[0] for row in rates.rows]) == ("success, seed 0", ["K = 1", "K = 1, merge none"])
    no_common_seed = {part.title: part for part in sections(sweep_of(seed_result(DEFAULT, 0, 2), seed_result(THREE_SAMPLES, 1, 2)))}[
        "The K comparison"
    ]
    assert "No seed has all of these settings." in no_common_seed.text
    assert (len(no_common_seed.tables), no_common_seed.tables[0].rows[0][1]) == (1, "-")


def both(new: object, old: object) -> list[tuple[Trajectory, Trajectory]]:
    return [(a, b) for a, b in zip(new, old, strict=True) if "error" not in (a.status, b.status)]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read as a record"), ('{"schema": 99}', "expected a record of schema 2, got 99"), ("[]", "got None")],
)
def test_a_file_that_is_not_a_record_is_named_in_the_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(RecordError, match=message) as error:
        read_records([tmp_path / "broken.json"])
    assert "broken.json" in str(error.value)


def test_two_records_of_one_seed_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    (first,) = write_records(tmp_path / "a", sweep_of(seed_result(DEFAULT, 0, 2)))
    (second,) = write_records(tmp_path / "b", sweep_of(seed_result(DEFAULT, 0, 3)))
    with pytest.raises(RecordError, match="K = 1, seed 0; give one of them"):
        read_records([first, second])
    (tmp_path / "none").mkdir()
    with pytest.raises(RecordError, match="no records"):
        compare_records([tmp_path / "none"], tmp_path / "out", "x")
    assert not (tmp_path / "out").exists()


def test_a_record_has_the_texts_of_two_failures_per_environment(tmp_path: Path) -> None:
    result = seed_result(DEFAULT, 0, 2)
    (file,) = write_records(tmp_path, sweep_of(result))
    texts = json.loads(file.read_text())["texts"]
    assert list(texts) == ["Iteration 2"]
    failed = [row.item_id for row in result.policies["Iteration 2"] if not row.success and row.status != "error"]
    assert list(texts["Iteration 2"]) == failed[:2]


def test_records_with_other_parameters_or_data_are_refused(tmp_path: Path) -> None:
    sweep = replace(sweep_of(seed_result(DEFAULT, 0, 2)), parameters={"finetune.max_steps": 300})
    write_records(tmp_path / "one", sweep)
    write_records(tmp_path / "two", replace(sweep_of(seed_result(DEFAULT, 1, 2)), parameters={"finetune.max_steps": 500}))
    with pytest.raises(RecordError, match=r"not of one experiment \(finetune\.max_steps: 300 and 500\)"):
        compare_records([tmp_path / "one", tmp_path / "two"], tmp_path / "out", "Both")
    write_records(tmp_path / "old", sweep_of(seed_result(DEFAULT, 2, 2)))  # it has no parameters, and is read between the two
    with pytest.raises(RecordError, match="300 and 500"):
        compare_records([tmp_path / "old", tmp_path / "one", tmp_path / "two"], tmp_path / "out", "All")
    for folder, seed, digest in (("five", 2, "bb"), ("six", 3, "aa")):
        write_records(tmp_path / folder, replace(sweep_of(seed_result(DEFAULT, seed, 2)), meta={"data: AgentEval": digest}))
    with pytest.raises(RecordError, match="data: AgentEval: bb and aa"):
        compare_records([tmp_path / "five", tmp_path / "six"], tmp_path / "out", "Both")


def test_the_published_records_have_the_schema_and_the_parameters_of_today() -> None:
    files = sorted((ROOT / "docs" / "results").glob("*/records/*.json"))
    known = flatten(Params().model_dump(mode="json"))
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    assert {record["schema"] for record in records} == {SCHEMA}
    assert {key for record in records for key in record["parameters"]} <= set(known)


def test_a_file_given_twice_counts_once(tmp_path: Path) -> None:
    (file,) = write_records(tmp_path / "one", sweep_of(seed_result(DEFAULT, 0, 2)))
    compare_records([tmp_path / "one", file], tmp_path / "out", "Twice")
    assert "Success on AgentEval in %, 1 seed, with" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.slow
def test_cloning_by_another_rule_is_another_bc_base(tmp_path: Path) -> None:
    default, threshold = seed_result(DEFAULT, 0, 2), seed_result(replace(DEFAULT, rule="threshold"), 0, 2)
    cloned = {label: episodes(random.Random(f"plain {label}"), label) for label in ("BC-Base", "BC-Large")}
    threshold = replace(threshold, policies={**threshold.policies, **cloned})
    by_title = {part.title: part for part in sections(sweep_of(default, threshold))}
    rows = {row[0]: row for row in by_title["Methods"].tables[0].rows}
    assert {"BC-Base, reward weighted", "BC-Base, threshold", "BC-Large, reward weighted", "BC-Large, threshold"} <= set(rows)
    methods = {part.title: part for part in sections(sweep_of(default, seed_result(DEFAULT, 1, 2), threshold))}["Methods"].tables[0]
    assert {"BC-Base, reward weighted", "BC-Base, threshold (seed 0)", "BC-Large, threshold (seed 0)"} <= {row[0] for row in methods.rows}
    tested = {row[0]: row for row in by_title["Paired tests"].tables[0].rows}
    gained = sum(new.success and not old.success for new, old in both(threshold.policies["Iteration 2"], cloned["BC-Base"]))
    assert tested["AgentEvol, M = 2, K = 1, rule threshold against BC-Base: overall"][3] == str(gained)


@pytest.mark.slow
def test_a_hosted_model_is_in_the_tables_and_the_paired_tests(tmp_path: Path) -> None:
    hosted = {"GPT": episodes(random.Random(9), "GPT")}
    write_records(tmp_path / "records", sweep_of(replace(seed_result(DEFAULT, 0, 2), hosted=hosted)))
    compare_records([tmp_path / "records"], tmp_path / "out", "Hosted")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "\n| GPT | " in text
    assert "AgentEvol, M = 2, K = 1 against GPT: overall" in text


def test_the_default_setting_is_first_and_labels_name_only_other_values() -> None:
    others = [replace(DEFAULT, merge="cumulative"), replace(DEFAULT, start_from="previous", rule="threshold")]
    settings = sweep_of(*(seed_result(setting, 0, 1) for setting in (*others, DEFAULT))).settings
    assert [setting.label(settings) for setting in settings] == ["K = 1", "K = 1, from previous, rule threshold", "K = 1, merge cumulative"]
    assert others[0].label([others[0], replace(THREE_SAMPLES, merge="cumulative")]) == "K = 1", "the label has only the values that differ"


def test_settings_are_sorted_by_k_as_a_number() -> None:
    settings = sweep_of(*(seed_result(replace(DEFAULT, samples=samples), 0, 1) for samples in ("10", "3+1", "2"))).settings
    assert [setting.samples for setting in settings] == ["2", "3+1", "10"]


def solved(label: str, count: int) -> list[Trajectory]:
    """Episodes on every AgentEval instruction, of which the first `count` succeed."""
    rows = episodes(random.Random(0), label)
    return [replace(row, success=number < count, reward=float(number < count), status="finished") for number, row in enumerate(rows)]


def test_three_equal_seeds_say_no_more_than_one() -> None:
    policies = {"BC-Base": solved("BC-Base", 0), "Iteration 1": solved("Iteration 1", 6)}
    by_title = {part.title: part for part in sections(sweep_of(*(SeedResult(DEFAULT, seed, policies) for seed in range(3))))}
    row = by_title["Paired tests"].tables[0].rows[0]
    assert row[:2] == ["AgentEvol, M = 1, K = 1 against BC-Base: pushing", "18"]
    assert row[3:7] == ["18", "0", "0.031", "6"], "6 instructions, as for one seed; 18 independent pairs would be p < 0.001"
    assert row[8] == "; ".join(f"seed {seed}: 6/0, p = 0.031" for seed in range(3))
    overall = by_title["Iterations by environment"].tables[0].rows[-1]
    assert overall[:2] == ["overall", "6 x 3"]
    assert overall[3:] == ["0.0 [0, 39]", "100.0 [61, 100]"], "the intervals of 6 instructions"


def test_a_column_shows_the_iterations_that_were_selected_on_validation(tmp_path: Path) -> None:
    policies = {"zero-shot": solved("zero-shot", 1), "BC-Base": solved("BC-Base", 2)}
    policies |= {"Iteration 1": solved("Iteration 1", 6), "Iteration 2": solved("Iteration 2", 4)}
    sweep = sweep_of(SeedResult(DEFAULT, 0, policies, selected="Iteration 1"), SeedResult(DEFAULT, 1, policies, selected="BC-Base"))
    sweep = read_records(write_records(tmp_path, sweep))
    table = {part.title: part for part in sections(sweep)}["Iterations by environment"].tables[0]
    assert table.header == ["environment", "n", "random", "zero-shot", "BC-Base", "Iteration 1", "Iteration 2", "selected"]
    assert [cell.split()[0] for cell in table.rows[-1][3:]] == ["16.7", "33.3", "100.0", "66.7", "66.7"]
    without = replace(sweep, results=[replace(sweep.results[0], selected=""), sweep.results[1]])
    assert sections(without)[2].tables[0].header == table.header[:-1]


def test_adaptive_samples_come_after_every_number() -> None:
    settings = [replace(THREE_SAMPLES, samples=samples) for samples in ("adaptive", "3", "1", "3+1")]
    assert [setting.samples for setting in sorted(settings, key=Setting.sort_key)] == ["1", "3", "3+1", "adaptive"]
    assert settings[0].label([]) == "K = adaptive"


def test_coverage_by_difficulty_is_compared_between_numbers_of_samples() -> None:
    one = seed_result(replace(THREE_SAMPLES, samples="1"), 0, 2)
    adaptive = replace(seed_result(replace(THREE_SAMPLES, samples="adaptive"), 0, 2), kept={"Iteration 2": frozenset({"pushing_7"})})
    (section,) = (part for part in sections(sweep_of(one, adaptive)) if part.title == "Coverage by difficulty")
    assert section.tables[1].header == ["environment", "difficulty", "explored", "K = 1", "K = adaptive"]
    assert section.tables[1].rows == [["pushing", "1", "10", "10 %", "0 %"], ["pushing", "2", "10", "10 %", "10 %"]]
    (alone,) = (part for part in sections(sweep_of(one)) if part.title == "Coverage by difficulty")
    assert len(alone.tables) == 1
