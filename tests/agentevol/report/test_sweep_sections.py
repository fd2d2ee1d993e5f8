"""The sections of a sweep's report: what is compared with what, on which seeds, with which interval."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from agentevol.data.exploration import ExplorationGroup
from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.scores import score
from agentevol.report.formatting import format_rate
from agentevol.report.sweep.model import SeedResult, Setting
from agentevol.report.sweep.records import read_records, write_records
from agentevol.report.sweep.section import Table
from agentevol.report.sweep.sections import sections
from agentevol.report.sweep.write import compare_records
from agentevol.verifier.quality import verifier_quality
from tests.agentevol.report.sweeps import DEFAULT, THREE_SAMPLES, episodes, seed_result, solved, sweep_of
from tests.flows.tiny import Pushing

pytestmark = pytest.mark.usefixtures("pushing")


def both(new: object, old: object) -> list[tuple[Trajectory, Trajectory]]:
    return [(a, b) for a, b in zip(new, old, strict=True) if "error" not in (a.status, b.status)]  # type: ignore[call-overload]


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


def test_a_seed_that_stopped_early_has_its_own_last_iteration_in_the_coverage() -> None:
    everything = frozenset(item.item_id for item in Pushing.instructions("explore"))
    long, short = (
        replace(seed_result(DEFAULT, seed, count), kept={f"Iteration {n}": everything for n in range(1, count + 1)})
        for seed, count in ((0, 4), (1, 2))
    )
    for results in ((long, short), (short, long)):
        sweep = sweep_of(*results)
        sweep = replace(sweep, runs=[replace(run, iterations=4) for run in sweep.runs])
        (section,) = (part for part in sections(sweep) if part.title == "Coverage by difficulty")
        header = section.tables[0].header
        assert header[3:5] == ["solved in iteration 1", "solved in the last iteration"]
        assert header[-1] == "AgentEval, the last iteration"
        assert [row[3:5] for row in section.tables[0].rows] == [["100 %", "100 %"]] * 2


def test_a_report_does_not_call_settings_equal_that_differ_in_several_ways() -> None:
    dpo = replace(DEFAULT, samples="3", start_from="previous", rule="dpo")
    texts = {part.title: part.text for part in sections(sweep_of(seed_result(DEFAULT, 0, 1), seed_result(dpo, 0, 1)))}
    assert texts["The K comparison"] == "No two settings differ in K alone."
    assert "sweep.start_from=[previous]" in texts["Merging, starting point and rule"]
    alone = {part.title: part.text for part in sections(sweep_of(seed_result(DEFAULT, 0, 1)))}
    assert alone["The K comparison"] == "All runs have the same K."
    assert alone["Merging, starting point and rule"] == "All runs have the same merging, starting point and learning rule."


def test_the_lineage_names_models_and_training_sets() -> None:
    (section,) = (part for part in sections(sweep_of(seed_result(DEFAULT, 0, 1))) if part.title == "Lineage")
    assert section.tables[1].rows[0][1:4] == ["BC-Base", "ab" * 6, "cd" * 6]


def test_successes_without_an_expert_are_counted_by_setting_and_kept_in_records(tmp_path: Path) -> None:
    def explored(episodes: int, covered: int, new: int) -> dict[str, list[ExplorationGroup]]:
        return {"Iteration 1": [ExplorationGroup("pushing", str(n), 10, episodes, 9, covered, 6 * n, new) for n in (0, 1)]}

    adaptive = replace(DEFAULT, samples="adaptive")
    results = [
        replace(seed_result(DEFAULT, 0, 1), exploration=explored(10, 4, 1)),
        replace(seed_result(DEFAULT, 1, 1), exploration=explored(10, 5, 2)),
        replace(seed_result(adaptive, 0, 1), exploration=explored(10, 7, 3)),
        seed_result(adaptive, 1, 1),  # of an earlier version
    ]
    sweep = read_records(write_records(tmp_path, sweep_of(*results)))
    (section,) = (part for part in sections(sweep) if part.title == "Coverage by difficulty")
    assert section.tables[-1].header == ["explored", "episodes", "with an episode", "with a success", "with a success, not in AgentTraj"]
    assert section.tables[-1].rows == [
        ["K = 1, iteration 1", "20", "18 of 20 (90 %)", "9 of 20 (45 %)", "3 of 6 (50 %)"],
        ["K = adaptive, iteration 1 (seed 0)", "20", "18 of 20 (90 %)", "14 of 20 (70 %)", "6 of 6 (100 %)"],
    ]


def test_the_quality_of_verifiers_is_kept_in_records_and_has_a_section(tmp_path: Path) -> None:
    played = solved("BC-Base", 3)
    quality = verifier_quality(played, [0.9 if episode.success else 0.2 for episode in played])
    measured = {"Iteration 1": {env: of_env.to_dict() for env, of_env in quality.items()}}
    sweep = sweep_of(replace(seed_result(DEFAULT, 0, 1), verifier=measured), seed_result(DEFAULT, 1, 1))
    (section,) = (part for part in sections(read_records(write_records(tmp_path, sweep))) if part.title == "Verifier")
    table = section.tables[0]
    assert table.header[:5] == ["verifier", "environment", "n", "successes", "AUC"]
    assert [row[:4] for row in table.rows] == [["K = 1, seed 0, iteration 1", env, "6", "3"] for env in ("pushing", "overall")]
    assert table.rows[0][4].startswith("1.00")
    assert "Verifier" not in [part.title for part in sections(sweep_of(seed_result(DEFAULT, 1, 1)))]


def test_the_progress_stands_beside_the_success_where_episodes_have_one() -> None:
    policies = {"BC-Base": solved("BC-Base", 2), "Iteration 1": solved("Iteration 1", 3)}
    halfway = [replace(row, progress=1.0 if row.success else 0.5) for row in policies["Iteration 1"]]
    results = [SeedResult(DEFAULT, seed, policies | {"Iteration 1": halfway}) for seed in (0, 1)]
    (section,) = (part for part in sections(sweep_of(*results)) if part.title == "Iterations by environment")
    success, progress = section.tables
    assert success.header[2:] == progress.header[2:] == ["random", "BC-Base", "Iteration 1"]
    assert progress.header[0] == "progress"
    assert [row[:2] for row in progress.rows] == [["pushing", "6 x 2"], ["overall", "6 x 2"]]
    cells = progress.rows[-1][2:]
    assert cells[:2] == ["-", "-"], "no progress was recorded for them"
    assert cells[2].startswith("75.0 [")
    (section,) = (part for part in sections(sweep_of(SeedResult(DEFAULT, 0, policies))) if part.title == "Iterations by environment")
    assert len(section.tables) == 1
