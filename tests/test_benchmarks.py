"""The comparison with the baseline, and what a sweep's cells share, on made-up numbers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentevol.data.exploration import ExplorationGroup
from agentevol.settings.load import load_params
from agentevol.settings.rules import RULES
from benchmarks import check, experiment, exploration, kills
from benchmarks.results import record
from benchmarks.sweep import needed_results, totals
from flows.sweep import cells
from tests import ROOT


def results(**ratios: float) -> dict[str, dict[str, dict[str, float]]]:
    return {"rollout": {"ratios": ratios}}


def test_only_what_fell_by_more_than_a_tenth_is_named() -> None:
    before = results(sequential=10.0, lockstep=4.0, floor=0.8)
    assert check.regressions(results(sequential=9.1, lockstep=5.0, floor=0.8), before) == []
    assert check.regressions(results(sequential=8.9, lockstep=3.0, floor=0.8), before) == [
        "rollout, sequential: 8.9, was 10 (-11 %)",
        "rollout, lockstep: 3, was 4 (-25 %)",
    ]


def test_a_ratio_on_one_side_only_is_told_and_not_judged() -> None:
    assert check.regressions(results(new=1.0), results(gone=2.0)) == []
    assert check.unpaired(results(new=1.0), results(gone=2.0)) == ["rollout, new: not in the baseline", "rollout, gone: not measured"]
    assert check.unpaired({}, results(gone=2.0)) == []  # a benchmark that was not run


def test_results_of_several_benchmarks_are_accepted_and_then_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, baseline = tmp_path / "results.json", tmp_path / "baseline.json"

    def run(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", ["check", str(file), "--baseline", str(baseline), *more])
        return check.main()

    record(file, "rollout", {"lockstep": 5.0}, {"episodes/s": 16.0})
    record(file, "scale", {"write": 1.0})
    assert run("--accept") == 0
    assert run() == 0
    record(file, "rollout", {"lockstep": 4.0})
    assert run() == 1
    assert "fell by more than 10 %: rollout, lockstep: 4, was 5 (-20 %)" in capsys.readouterr().out
    assert set(json.loads(baseline.read_text())["scale"]) == {"when", "machine", "ratios", "figures"}


def test_a_cell_is_made_of_its_own_results_and_those_that_it_shares() -> None:
    def made(task: str, digest: str, **inputs: object) -> dict[str, object]:
        return {"task": task, "artifact": {"digest": digest}, "inputs": inputs}

    def of(digest: str) -> dict[str, str]:
        return {"kind": "x", "digest": digest}

    store = {
        "finetune-a": made("finetune", "m1"),
        "finetune-b": made("finetune", "m2"),
        "roll-out-chunk-a": made("roll_out_chunk", "c1"),
        "roll-out-chunk-b": made("roll_out_chunk", "c2"),
        "concatenate-chunks-a": made("concatenate_chunks", "g1", chunks=[of("c1")]),
        "concatenate-chunks-b": made("concatenate_chunks", "g2", chunks=[of("c1"), of("c2")]),
        "score-a": made("score", "s1", episodes=of("g1")),
        "score-b": made("score", "s2", episodes=of("g2")),
        "validate-a": made("validate", "v1", data=of("d9")),
    }
    first = {"BC-Base": {"model": {"path": "runs/store/finetune-a/model"}, "played": {"path": "runs/store/concatenate-chunks-a/dataset"}}}
    second = {"BC-Base": {"model": {"path": "runs/store/finetune-b/model"}, "played": {"path": "runs/store/concatenate-chunks-b/dataset"}}}
    assert needed_results(first, store) == {"finetune-a", "roll-out-chunk-a", "concatenate-chunks-a", "score-a"}
    assert needed_results(first, store) & needed_results(second, store) == {"roll-out-chunk-a"}


def test_work_is_summed_by_step() -> None:
    bodies = [
        {"key": "roll-out-chunk-v2-a", "seconds": 2.0, "episodes": 8, "tokens": 100},
        {"key": "concatenate-chunks-v3-a", "seconds": 0.5, "episodes": 8, "tokens": 100},
        {"key": "finetune-v1-a", "seconds": 3.0, "tokens": 70, "trained_tokens": 30},
    ]
    sums = totals(bodies)
    assert (sums["rollout"]["episodes"], sums["learn"]["trained_tokens"], sums["data and gates"]["episodes"]) == (8, 30, 0)


def test_the_parts_of_the_experiment_are_valid_and_none_does_what_another_does() -> None:
    root = ROOT
    runs = []
    for overrides in experiment.PARTS.values():
        params = load_params(root / experiment.PARAMS, overrides)
        runs += [(cell.setting, cell.seed, cell.iterations) for cell in cells(params.sweep)]
    assert len(set(runs)) == len(runs)
    chains = [(setting, seed) for setting, seed, _ in runs]
    assert {seed for _, seed in chains} == {0, 1, 2}
    assert {setting.samples for setting, _ in chains} == {"1", "2", "3", "4", "adaptive"}
    assert {setting.rule for setting, _ in chains} == set(RULES)
    assert {setting.merge for setting, _ in chains} == {"initial", "cumulative", "none"}
    assert params.data.folder != "data", "data.dvc tracks the main job's data"
    assert len(params.environments) >= 5


def test_the_experiment_goes_on_with_the_parts_that_have_no_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "agentevol", lambda *arguments: asked.append(arguments))
    experiment.RECORDS.mkdir(parents=True)
    (experiment.RECORDS / "parts.txt").write_text("".join(f"{part}\n" for part in experiment.PARTS if part != "merge-0"))
    experiment.main([])
    assert [arguments[0] for arguments in asked] == ["sweep", "compare"]
    assert "sweep.merge=[cumulative,none]" in asked[0]
    assert experiment.finished_parts(experiment.RECORDS) == set(experiment.PARTS)
    with pytest.raises(SystemExit):
        experiment.main(["main-9"])
    assert "no such part: main-9; the parts are main-0" in capsys.readouterr().err


def test_of_a_setting_and_seed_the_longest_run_is_kept_in_whatever_order_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment.RECORDS.mkdir(parents=True)
    for name in ("M4-K1-initial-s0", "M4-K1-initial-s1", "M6-K1-initial-s0", "M4-K1-initial-s0", "M4-K3-initial-s0"):
        (tmp_path / f"{name}.json").write_text("{}")
        experiment.keep(tmp_path / f"{name}.json")
    assert {file.stem for file in experiment.RECORDS.iterdir()} == {"M6-K1-initial-s0", "M4-K1-initial-s1", "M4-K3-initial-s0"}


RESUMABLE = """
import json, pathlib, sys, time
store = pathlib.Path("runs/store")
for number in range(6):
    folder = store / f"step-v1-{number}"
    if not (folder / "manifest.json").exists():
        time.sleep(0.1)
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / "unfinished"
        unfinished.write_text(json.dumps({"artifact": {"digest": str(number)}}))
        unfinished.replace(folder / "manifest.json")
"""


@pytest.fixture
def job(tmp_path: Path) -> kills.Job:
    (tmp_path / "inputs").mkdir()
    return kills.Job([sys.executable, "-c", RESUMABLE], tmp_path / "inputs")


@pytest.mark.slow
def test_a_job_that_continues_passes_and_the_benchmark_itself_continues(job: kills.Job, tmp_path: Path) -> None:
    first = kills.run(job, tmp_path / "kills", 2, minutes=10, seed=0)
    assert [trial.number for trial in first] == [1, 2]
    assert all(trial.passed for trial in first)
    assert [trial.whole_tree for trial in first] == [False, True]
    later = kills.run(job, tmp_path / "kills", 3, minutes=10, seed=0)
    assert later[:2] == first
    assert len(later) == 3
    assert kills.run(job, tmp_path / "kills", 9, minutes=0, seed=0) == later  # no time for more


@pytest.mark.parametrize(("change", "verdict"), [("raise SystemExit('broken')", "FAILED (1: broken)"), ("pass", "DIFFERENT")])
def test_a_job_that_does_not_continue_fails(
    job: kills.Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, verdict: str
) -> None:
    """The second run finds the file that the first one left, which is killed when it has left it."""
    kill = kills.kill

    def kill_later(process: subprocess.Popen[bytes], *, whole_tree: bool) -> None:
        while process.poll() is None and not (tmp_path / "kills" / "trial" / "began").exists():
            time.sleep(0.01)
        kill(process, whole_tree=whole_tree)

    monkeypatch.setattr(kills, "kill", kill_later)
    again = f"""
import pathlib
if pathlib.Path("began").exists():
    pathlib.Path("runs/store/other").mkdir(parents=True, exist_ok=True)
    pathlib.Path("runs/store/other/manifest.json").write_text('{{"artifact": {{"digest": "x"}}}}')
    {change}
pathlib.Path("began").touch()
"""
    broken = kills.Job([sys.executable, "-c", again + RESUMABLE], job.inputs)
    [trial] = kills.run(broken, tmp_path / "kills", 1, minutes=10, seed=1)
    assert not trial.passed
    assert verdict in kills.row(trial)
    assert (tmp_path / "kills" / "failed-1" / "began").exists()


def test_fixed_and_adaptive_samples_are_counted_on_the_same_instructions() -> None:
    def groups(episodes: int, easy: int, hard: int) -> list[ExplorationGroup]:
        return [ExplorationGroup("w", "easy", 8, episodes, 8, easy, 4, easy - 4), ExplorationGroup("w", "hard", 4, 0, 4, hard, 4, hard)]

    found = {exploration.ALL: [groups(24, 6, 1), groups(24, 7, 1)], "adaptive": [groups(24, 8, 2), groups(24, 8, 3)]}
    header, rows = exploration.rows(found)
    assert header[-2:] == ["w, easy", "w, hard"]
    assert rows == [
        ["K = 1", "24", "7.5 of 12", "3.5 of 8", "6.5 of 8", "1 of 4"],
        ["adaptive", "24", "10.5 of 12", "6.5 of 8", "8 of 8", "2.5 of 4"],
    ]
    budgets = exploration.arms(18, 2)
    assert budgets["adaptive, one per instruction"][1] == "evolve.budget=36"
    assert budgets["K = 3, a third of the instructions"][1] == "data.limits.explore=6"
