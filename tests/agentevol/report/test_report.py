"""The report of a run: its tables and numbers, its width, and that it is the same for the same scores."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from agentevol.data.exploration import ExplorationGroup
from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.paired_tests import mcnemar_per_environment
from agentevol.evaluation.rounds_per_success import rounds_per_success
from agentevol.evaluation.scores import score
from agentevol.report.model import Comparison, Phase, ReportInput
from agentevol.report.tables import as_markdown, as_text
from agentevol.report.write import write_report
from agentevol.verifier.quality import verifier_quality


def policy(successes: dict[str, int], n: int = 40, errors: int = 0) -> list[Trajectory]:
    """Episodes on `n` instructions per environment: the first `successes` of each succeed, the last `errors` end in an error."""
    return [
        Trajectory(
            f"{env}_{number}", env, "", "eval", "p", "h", 0, 0, [], float(number < count), number < count, 3,
            "error" if number >= n - errors else "finished",
        )
        for env, count in successes.items()
        for number in range(n)
    ]  # fmt: skip


def runs(iterations: int = 2, **changes: object) -> ReportInput:
    episodes = {"BC-Base": policy({"maze": 10, "wordle": 20})}
    episodes |= {f"Iteration {m}": policy({"maze": 10 + 4 * m, "wordle": 20 + m}) for m in range(1, iterations + 1)}
    episodes["BC-Large"] = policy({"maze": 30, "wordle": 40})
    last = f"Iteration {iterations}"
    arguments = {
        "scores": {label: score(of_policy) for label, of_policy in episodes.items()},
        "comparisons": [Comparison(last, "BC-Base", mcnemar_per_environment(episodes[last], episodes["BC-Base"]))],
        "phases": [Phase("BC-Base: learn", 90.0, trained_tokens=5000), Phase("Iteration 1: explore", 30.0, 1234, 56789)],
        "meta": {"seed": 0, "data": {"agenttraj": "ab12"}},
        **changes,
    }
    return ReportInput(**arguments)  # type: ignore[arg-type]


def line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.strip(" |*").startswith(start))


def test_the_table_has_every_policy_with_its_interval(tmp_path: Path) -> None:
    text = write_report(tmp_path, runs()).text
    assert "25.0 [14.2, 40.2]" in line(text, "maze")
    assert "100.0 [91.2, 100.0]" in line(text, "wordle")
    assert line(text, "environment").split() == ["environment", "n", "BC-Base", "Iteration", "1", "Iteration", "2", "BC-Large"]
    assert line(text, "overall").split()[1] == "80"
    assert "reward" not in text


def test_the_paired_test_is_one_sentence_and_a_line_per_environment(tmp_path: Path) -> None:
    text = write_report(tmp_path, runs()).text
    assert "AgentEvol (iteration 2) against BC-Base: +12.5 points, 10 gained / 0 lost of 80, exact McNemar p = 0.002" in text
    assert [part.split() for part in text.splitlines() if part.startswith("maze")][1] == ["maze", "40", "+20.0", "8", "0", "0.008", "0.016"]


def test_the_costs_add_up(tmp_path: Path) -> None:
    text = write_report(tmp_path, runs()).text
    assert line(text, "BC-Base: learn").split()[-6:] == ["s", "75", "%", "-", "-", "5,000"]
    assert line(text, "total").split() == ["total", "2", "min", "00", "s", "100", "%", "1,234", "56,789", "5,000"]


@pytest.mark.parametrize("iterations", [1, 4, 9])
def test_the_text_fits_a_terminal_and_nothing_is_truncated(tmp_path: Path, iterations: int) -> None:
    text = write_report(tmp_path, runs(iterations)).text
    assert max(len(line) for line in text.splitlines()) <= 120
    assert "…" not in text
    assert all(f"Iteration {m}" in text for m in range(1, iterations + 1))


def test_the_random_baseline_is_in_the_tables_and_not_in_the_curve(tmp_path: Path) -> None:
    random_baseline = {"random": score(policy({"maze": 4}))}  # wordle cannot list its actions
    report = write_report(tmp_path, runs(4, scores=random_baseline | dict(runs(4).scores)))
    assert line(report.text, "environment").split()[2:4] == ["random", "BC-Base"]
    assert line(report.text, "maze").split()[2:5] == ["10.0", "[4.0,", "23.1]"]
    assert line(report.text, "wordle").split()[2] == "-"
    assert "random picks among the actions that an environment lists, - where it lists none." in report.text
    assert line(report.markdown, "environment").startswith("| environment | n | random | BC-Base | Iteration 1 |")
    assert "| wordle | 40 | - |" in report.markdown
    assert report.metrics["random"]["maze"]["success"] == 0.1
    assert (tmp_path / "curve.csv").read_text() == (write_report(tmp_path / "without", runs(4)).folder / "curve.csv").read_text()


def test_reward_has_a_table_if_it_is_not_the_success_rate(tmp_path: Path) -> None:
    partial = policy({"maze": 10})
    for trajectory in partial:
        trajectory.reward *= 0.5
    text = write_report(tmp_path, runs(scores={"BC-Base": score(partial)}, comparisons=[])).text
    assert "Mean reward" in text
    assert "12.5 [" in text


def test_progress_has_a_table_and_a_metric_if_episodes_have_it(tmp_path: Path) -> None:
    without = write_report(tmp_path / "without", runs(scores={"BC-Base": score(policy({"maze": 10}))}, comparisons=[]))
    assert "progress" not in without.text + json.dumps(without.metrics)
    measured = policy({"maze": 10, "bird": 10})
    for trajectory in measured:
        trajectory.progress = None if trajectory.env == "bird" else 1.0 if trajectory.success else 0.2
    report = write_report(tmp_path / "with", runs(scores={"BC-Base": score(measured)}, comparisons=[]))
    table = report.text.partition("Mean progress on AgentEval x 100")[2]
    assert line(table, "maze").split()[:3] == ["maze", "40", "40.0"]
    assert line(table, "bird").split() == ["bird", "0", "-"], "no progress, although it has a success rate"
    assert line(table, "overall").split()[:3] == ["overall", "40", "40.0"]
    assert report.metrics["final"]["maze"]["progress"] == pytest.approx(0.4)
    assert set(report.metrics["final"]["bird"]) == {"success", "reward"}


def test_a_run_with_several_objectives_shows_the_rounds_of_a_success(tmp_path: Path) -> None:
    played = policy({"maze": 10, "wordle": 0})
    for trajectory in played:
        trajectory.rounds = 3
    measured = {"BC-Base": rounds_per_success(played)}
    report = write_report(tmp_path, runs(scores={"BC-Base": score(played)}, comparisons=[], rounds_per_success=measured))
    table = report.text.partition("Rounds per success on AgentEval")[2]
    assert line(table, "maze").split()[:4] == ["maze", "40", "12.0", f"[{measured['BC-Base']['maze'].low:.1f},"]
    assert line(table, "wordle").split() == ["wordle", "40", "-"]
    assert "| maze | 40 | 12.0 [" in report.markdown
    assert "Rounds per success" not in write_report(tmp_path / "plain", runs()).text


def test_the_verifier_of_an_iteration_has_a_table(tmp_path: Path) -> None:
    played = policy({"maze": 10})
    quality = verifier_quality(played, [0.9 if episode.success else 0.2 for episode in played])
    of_iteration = {env: measured.to_dict() for env, measured in quality.items()}
    report = write_report(tmp_path, runs(scores={"BC-Base": score(played)}, comparisons=[], verifier={"Iteration 1": of_iteration}))
    table = report.text.partition("Iteration 1: the verifier of its explored episodes")[2]
    # Calibration: seven bins of 0.2 and failures alone, one of two failures and two successes, two of 0.9 and successes alone.
    assert line(table, "maze").split() == ["maze", "40", "10", "1.00", "[1.00,", "1.00]", "0.500", "0.033", "0.188", "0.165", "0.375"]
    assert "verifier" not in write_report(tmp_path / "plain", runs()).text


def test_errors_are_reported_and_not_counted_in_n(tmp_path: Path) -> None:
    scores = {"BC-Base": score(policy({"maze": 10})), "Iteration 1": score(policy({"maze": 10}, errors=3))}
    text = write_report(tmp_path, runs(scores=scores, comparisons=[])).text
    assert line(text, "maze").split()[1] == "37-40"
    assert "Ended by an error and not scored: 3 of Iteration 1." in text


def test_errors_are_no_advantage_if_they_are_counted_as_failures(tmp_path: Path) -> None:
    """A policy that breaks the environment on the instructions that it would fail has a higher rate: both rates are shown."""
    honest, breaking = policy({"maze": 20}), policy({"maze": 20}, errors=15)
    report = write_report(tmp_path, runs(scores={"BC-Base": score(honest), "Iteration 1": score(breaking)}, comparisons=[]))
    rows = [row.split() for row in report.text.splitlines() if row.startswith("maze")]
    assert [(row[1], row[2], row[5]) for row in rows[:2]] == [("25-40", "50.0", "80.0"), ("40", "50.0", "50.0")]
    assert "errors counted as failures" in report.text
    assert "errors counted as failures" in report.markdown
    stored = json.loads((tmp_path / "scores.json").read_text())["policies"]
    assert stored["Iteration 1"]["maze"]["success_errors_failed"] == 0.5
    assert "success_errors_failed" not in stored["BC-Base"]["maze"]
    only_errors = score(policy({"maze": 0}, errors=40))
    text = write_report(tmp_path / "all", runs(scores={"BC-Base": only_errors}, comparisons=[])).text
    assert [row.split()[1:3] for row in text.splitlines() if row.startswith("maze")] == [["0", "-"], ["40", "0.0"]]


def test_without_errors_there_is_one_success_table(tmp_path: Path) -> None:
    assert "counted as failures" not in write_report(tmp_path, runs()).text


def test_an_environment_without_a_scored_episode_is_a_dash(tmp_path: Path) -> None:
    scores = {
        "BC-Base": score(policy({"maze": 0, "wordle": 3})),
        "Iteration 1": score(policy({"wordle": 4}) + policy({"maze": 0}, errors=40)),
    }
    report = write_report(tmp_path, runs(scores=scores, comparisons=[]))
    assert line(report.text, "maze").rstrip().endswith(" -")
    assert report.metrics["final"]["maze"] == {"success": None, "reward": None}


def test_the_files_have_the_metrics(tmp_path: Path) -> None:
    report = write_report(tmp_path, runs())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == report.metrics
    assert metrics["final"]["overall"]["success"] == 0.5
    assert metrics["bc_base"]["maze"]["success"] == 0.25
    assert metrics["gain"]["overall"]["difference"] == pytest.approx(0.125)
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    assert [(row["iteration"], float(row["overall"])) for row in rows] == [("0", 0.375), ("1", 0.4375), ("2", 0.5)]
    assert set(json.loads((tmp_path / "scores.json").read_text())) == {
        "policies",
        "validation",
        "selected",
        "paired",
        "phases",
        "exploration",
        "meta",
        "remarks",
    }


def test_remarks_are_below_the_tables(tmp_path: Path) -> None:
    report = write_report(tmp_path, runs(remarks=["Iteration 1 left out: 3 dropped (failed)"]))
    assert "\nIteration 1 left out: 3 dropped (failed)\n" in report.text
    assert "- Iteration 1 left out: 3 dropped (failed)" in report.markdown
    assert (tmp_path / "table.txt").read_text() == report.text
    assert "| **overall** | **80** |" in (tmp_path / "table.md").read_text()


def test_the_plot_is_a_png_and_the_same_twice(tmp_path: Path) -> None:
    first = write_report(tmp_path / "a", runs()).folder / "curve.png"
    second = write_report(tmp_path / "b", runs()).folder / "curve.png"
    assert first.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert first.read_bytes() == second.read_bytes()


def test_one_environment_and_no_iteration_still_make_a_report(tmp_path: Path) -> None:
    report = write_report(tmp_path, ReportInput({"BC-Base": score(policy({"maze": 10}))}))
    assert report.metrics["iterations"] == 0
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_a_report_without_bc_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs the scores of BC-Base; got Iteration 1"):
        write_report(tmp_path, ReportInput({"Iteration 1": score([])}))


def test_a_random_baseline_of_some_environments_has_no_overall_score(tmp_path: Path) -> None:
    complete = runs()
    random_baseline = {env: env_score for env, env_score in score(policy({"maze": 5}, errors=2)).items() if env != "overall"}
    report = write_report(tmp_path, runs(scores={"random": random_baseline, **complete.scores}))
    assert line(report.text, "maze").split()[2:5] == ["13.2", "[5.8,", "27.3]"]
    assert line(report.text, "overall").split()[2] == "-"
    assert "Ended by an error and not scored: 2 of random." in report.text
    assert set(report.metrics["random"]) == {"maze"}


def selection(selected: str) -> ReportInput:
    on_validation = {"BC-Base": 4, "Iteration 1": 9, "Iteration 2": 6}
    return runs(validation={label: score(policy({"maze": count}, n=10)) for label, count in on_validation.items()}, selected=selected)


def test_the_policy_that_was_selected_on_validation_is_marked_and_is_the_final_one(tmp_path: Path) -> None:
    report = write_report(tmp_path, selection("Iteration 1"))
    assert line(report.text, "environment").split() == ["environment", "n", "BC-Base", "Iteration", "1*", "Iteration", "2", "BC-Large"]
    assert "* selected on the validation split (10 instructions), not on AgentEval: the result of the run." in report.text
    assert "Success on the validation split in % [95 % Wilson interval]:" in report.markdown
    assert "| maze | 10 | 40.0 [16.8, 68.7] | 90.0 [59.6, 98.2] | 60.0 [31.3, 83.2] |" in report.markdown
    assert report.metrics["final"]["overall"]["success"] == 0.4375
    assert (report.metrics["iterations"], report.metrics["selected_iteration"]) == (2, 1)
    assert json.loads((tmp_path / "scores.json").read_text())["validation"]["Iteration 1"]["overall"]["success"] == 0.9
    assert (tmp_path / "curve.png").read_bytes() != (
        write_report(tmp_path / "b", selection("Iteration 2")).folder / "curve.png"
    ).read_bytes()


def test_a_run_that_selects_bc_base_has_no_gain(tmp_path: Path) -> None:
    metrics = write_report(tmp_path, selection("BC-Base")).metrics
    assert metrics["final"] == metrics["bc_base"]
    assert metrics["gain"]["overall"] == {"difference": 0.0, "p_value": 1.0}
    with pytest.raises(ValueError, match="BC-Large is selected"):
        write_report(tmp_path, selection("BC-Large"))


def test_the_base_model_zero_shot_is_a_column_and_a_line_and_not_in_the_curve(tmp_path: Path) -> None:
    report = write_report(tmp_path, runs(scores={"zero-shot": score(policy({"maze": 4, "wordle": 0})), **runs().scores}))
    assert line(report.markdown, "environment").startswith("| environment | n | zero-shot | BC-Base | Iteration 1 |")
    assert report.metrics["zero_shot"]["maze"]["success"] == 0.1
    assert report.metrics["iterations"] == 2
    assert "zero-shot is the base model before any training." in report.text


def test_what_the_explorations_reached_is_a_table() -> None:
    groups = [ExplorationGroup("maze", "5-9", 8, 9, 7, 4, 3, 1), ExplorationGroup("maze", "10-14", 2, 1, 1, 0, 2, 0)]
    explored = replace(runs(), exploration={"Iteration 1": groups})
    assert "Iteration 1" in next(line for line in as_text(explored).splitlines() if "8 of 10 (80 %)" in line)
    assert "| maze, 5-9 | 8 | 9, 50 % |" in as_markdown(explored)
    assert "Exploration" not in as_text(runs())
