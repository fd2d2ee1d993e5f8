"""Records of runs: a report from records is the same as one from the runs, and records that cannot be compared are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agentevol.report.sweep.model import SeedResult
from agentevol.report.sweep.records import SCHEMA, RecordError, read_records, write_records
from agentevol.report.sweep.write import compare_records, write_sweep_report
from agentevol.settings.effects import flatten
from agentevol.settings.schema import Params
from tests import ROOT
from tests.agentevol.report.sweeps import DEFAULT, THREE_SAMPLES, seed_result, solved, sweep_of

pytestmark = pytest.mark.usefixtures("pushing")


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


@pytest.mark.parametrize(
    ("ours", "theirs", "difference"),
    [
        ({}, {"filter.keep": "positive"}, r"filter\.keep: success and positive"),
        ({}, {"filter.objective.success": 1.0}, r"filter\.objective\.success: None and 1\.0"),
        ({}, {"finetune.loss_aggregation": "sequence_mean"}, "token_mean and sequence_mean"),
        ({"filter.keep": "success"}, {}, ""),
        ({}, {"grpo.clip_range": 0.5}, ""),  # both use reward_weighted
        ({}, {"unknown.key": 1}, ""),
    ],
)
def test_a_parameter_that_was_added_later_has_its_default_in_a_record_without_it(
    tmp_path: Path, ours: dict[str, object], theirs: dict[str, object], difference: str
) -> None:
    for seed, parameters in enumerate((ours, theirs)):
        sweep = replace(sweep_of(seed_result(DEFAULT, seed, 2)), parameters={"finetune.max_steps": 300})
        (file,) = write_records(tmp_path / str(seed), sweep)
        record = json.loads(file.read_text())
        assert record["parameters"]["filter.keep"] == "success", "a record has all of them"
        file.write_text(json.dumps(record | {"parameters": {"finetune.max_steps": 300, **parameters}}))
    files = sorted(tmp_path.glob("*/*.json"))
    if not difference:
        assert len(read_records(files).results) == 2
        return
    with pytest.raises(RecordError, match=difference):
        read_records(files)


def test_published_records_of_different_experiments_are_not_pooled() -> None:
    records = ROOT / "docs" / "results" / "rules" / "records"
    for one, two in (("learned", "environment"), ("token-mean", "rules")):
        (first,), (second,) = ([*(records / name).glob(f"*-{rule}-s{seed}.json")] for name, rule, seed in _pairs(one, two))
        with pytest.raises(RecordError, match="not of one experiment"):
            read_records([first, second])


def _pairs(one: str, two: str) -> list[tuple[str, str, int]]:
    """A record of each, of different seeds and the same setting."""
    rule = "reward-weighted" if one == "learned" else "grpo"
    return [(one, rule, 0), (two, rule, 1)]


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


def test_a_record_keeps_the_progress_and_an_older_one_without_it_is_read(tmp_path: Path) -> None:
    policies = {"BC-Base": solved("BC-Base", 2), "Iteration 1": solved("Iteration 1", 3)}
    (old,) = write_records(tmp_path / "old", sweep_of(SeedResult(DEFAULT, 0, policies)))
    assert "progress" not in old.read_text()
    assert {row.progress for row in read_records([old]).results[0].policies["Iteration 1"]} == {None}
    shares = [1.0, 1.0, 1 / 3, 1 / 3, 1 / 3, None]
    halfway = [replace(row, progress=share) for row, share in zip(policies["BC-Base"], shares, strict=True)]
    (new,) = write_records(tmp_path / "new", sweep_of(SeedResult(DEFAULT, 0, policies | {"BC-Base": halfway})))
    read = read_records([new]).results[0].policies
    assert [row.progress for row in read["BC-Base"]] == [1.0, 1.0, 0.333333, 0.333333, 0.333333, None]
    assert {row.progress for row in read["Iteration 1"]} == {None}
