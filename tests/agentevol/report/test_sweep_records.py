"""Records of runs: a report made from them says what one made from the runs says, and what cannot stand side by side is refused."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from agentevol.data.trajectory import Message, Trajectory
from agentevol.evaluation.scores import score
from agentevol.report.formatting import rate
from agentevol.report.sweep.model import Cell, Chain, Cost, Setting, Sweep
from agentevol.report.sweep.records import NotARecord, read_records, write_records
from agentevol.report.sweep.section import Table
from agentevol.report.sweep.sections import sections
from agentevol.report.sweep.write import compare, write_report
from envs import registry
from tests.flows.tiny import Pushing

USUAL = Setting("1", "initial", "base", "reward_weighted")
MORE = Setting("3", "initial", "base", "reward_weighted")


@pytest.fixture(autouse=True)
def _toy_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.tiny:Pushing")


def chain(setting: Setting, seed: int, iterations: int) -> Chain:
    """BC-Base and BC-Large are those of the seed, whatever the setting, as in a sweep."""

    def draw(label: str) -> random.Random:
        return random.Random(f"{seed} {label} {'' if label.startswith('BC') else setting}")

    labels = ["BC-Base", *(f"Iteration {number}" for number in range(1, iterations + 1)), "BC-Large"]
    return Chain(
        setting,
        seed,
        policies={label: episodes(draw(label), label) for label in labels},
        kept={f"Iteration {number}": frozenset({"pushing_7", "pushing_8"}) for number in range(1, iterations + 1)},
        lineage={label: {"model": {"path": f"runs/store/{label}", "sha256": "ab" * 32, "rows": {}}} for label in labels},
    )


def episodes(draw: random.Random, label: str) -> list[Trajectory]:
    return [played(one.item_id, draw, label) for one in Pushing.instructions("eval")]


def played(item_id: str, draw: random.Random, label: str) -> Trajectory:
    success = draw.random() < 0.4
    status = "finished" if success else draw.choice(("finished", "truncated", "error"))
    words = [Message("user", "Push."), Message("assistant", f"Action: wait | {label}", True)]
    return Trajectory(item_id, "pushing", "push", "eval", label, "", 0, 0, words, float(success), success, draw.randint(1, 4), status)


def swept(*chains: Chain) -> Sweep:
    cells = [
        Cell(one.setting, len(one.curve) - 1, one.seed, f"runs/{one.seed}", [Cost("BC-Base", "learn", f"a{one.seed}", 3.0, 0, 0, 70)])
        for one in chains
    ]
    explored = [("pushing", one.difficulty, one.item_id) for one in Pushing.instructions("explore")]
    return Sweep(chains, cells, episodes(random.Random(5), "random"), explored, {"commit": "abc", "machine": "two cores"})


def test_a_report_from_records_is_the_report_from_the_runs(tmp_path: Path) -> None:
    whole = swept(chain(USUAL, 0, 3), chain(USUAL, 1, 3), chain(MORE, 0, 2))
    files = write_records(tmp_path / "records", whole)
    assert [file.name for file in files] == [
        "M3-K1-initial-base-reward-weighted-s0.json",
        "M3-K1-initial-base-reward-weighted-s1.json",
        "M2-K3-initial-base-reward-weighted-s0.json",
    ]
    write_report(tmp_path / "runs", whole, "Title")
    compare([tmp_path / "records"], tmp_path / "compared", "Title")
    for name in ("report.md", "report.html", "curve-overall.svg", "methods.svg"):
        assert sorted((tmp_path / "compared" / name).read_text().splitlines()) == sorted(
            (tmp_path / "runs" / name).read_text().splitlines()
        )


def test_records_of_two_machines_make_one_report_and_nothing_else_there_is_lost(tmp_path: Path) -> None:
    write_records(tmp_path / "here", swept(chain(USUAL, 0, 2)))
    write_records(tmp_path / "there", replace(swept(chain(USUAL, 1, 2)), meta={"commit": "abc", "machine": "a GPU"}))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.md").write_text("mine")
    compare([tmp_path / "here", *(tmp_path / "there").glob("*.json")], tmp_path / "out", "Both")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| machine | two cores; a GPU |" in text
    assert "| commit | abc |" in text
    assert "2 seeds together" in text
    assert (tmp_path / "out" / "notes.md").read_text() == "mine"


def test_policies_are_compared_after_the_iterations_that_all_have() -> None:
    longer, shorter = chain(USUAL, 0, 6), chain(MORE, 0, 4)
    by_title = {part.title: part for part in sections(swept(longer, shorter))}
    methods: Table = by_title["Methods"].tables[0]
    assert [row[0] for row in methods.rows][2:4] == ["AgentEvol, M = 4, K = 1", "AgentEvol, M = 4, K = 3"]
    assert "after 4 iterations" in by_title["The K comparison"].says
    gained = sum(new.success and not old.success for new, old in both(shorter.policies["Iteration 4"], longer.policies["Iteration 4"]))
    assert by_title["The K comparison"].tables[0].rows[0][3] == str(gained)
    assert len(by_title["The curve over M"].tables[0].header) == 2 + 6


def test_a_setting_without_all_seeds_says_so_and_meets_bc_large_of_its_seed() -> None:
    less = chain(MORE, 0, 2)
    less = replace(less, policies={label: played for label, played in less.policies.items() if label != "BC-Large"})
    by_title = {part.title: part for part in sections(swept(chain(USUAL, 0, 3), chain(USUAL, 1, 2), less))}
    names = [row[0] for row in by_title["Methods"].tables[0].rows]
    assert names == ["random", "BC-Base", "AgentEvol, M = 2, K = 1", "AgentEvol, M = 2, K = 3 (seed 0)", "BC-Large"]
    usual, more = by_title["The curve over M"].tables[0].rows
    assert (usual[4].endswith(" (seed 0)"), usual[3].endswith("]"), more[4]) == (True, True, "-")
    tested = {row[0]: row for row in by_title["Paired tests"].tables[0].rows}
    shared = chain(USUAL, 0, 3).policies["BC-Large"]
    gained = sum(new.success and not old.success for new, old in both(less.policies["Iteration 2"], shared))
    assert tested["AgentEvol, M = 2, K = 3 (seed 0) against BC-Large: overall"][3] == str(gained)


def test_rates_stand_side_by_side_for_the_seeds_that_all_settings_have() -> None:
    merged = replace(USUAL, merge="none")
    chains = [chain(USUAL, 0, 2), chain(USUAL, 1, 2), chain(MORE, 1, 2), chain(merged, 0, 2)]
    by_title = {part.title: part for part in sections(swept(*chains))}
    own = rate(score(chains[1].policies["Iteration 2"])["overall"])
    rates = by_title["The K comparison"].tables[1]
    assert (rates.header[0], [row[0] for row in rates.rows]) == ("success, seed 1", ["K = 1", "K = 3"])
    assert rates.rows[0][-1] == own != by_title["Methods"].tables[0].rows[2][-1]
    assert "All environments, seed 1" in by_title["The K comparison"].pictures["curve-samples"]
    rates = by_title["Merging, starting point and rule"].tables[1]
    assert (rates.header[0], [row[0] for row in rates.rows]) == ("success, seed 0", ["K = 1", "K = 1, merge none"])
    apart = {part.title: part for part in sections(swept(chain(USUAL, 0, 2), chain(MORE, 1, 2)))}["The K comparison"]
    assert "No seed has all of these settings." in apart.says
    assert (len(apart.tables), apart.tables[0].rows[0][1]) == (1, "-")


def both(new: object, old: object) -> list[tuple[Trajectory, Trajectory]]:
    return [(a, b) for a, b in zip(new, old, strict=True) if "error" not in (a.status, b.status)]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "cannot be read as a record"), ('{"schema": 99}', "schema 1 was expected, 99 found"), ("[]", "None found")],
)
def test_what_is_no_record_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(NotARecord, match=said) as error:
        read_records([tmp_path / "broken.json"])
    assert "broken.json" in str(error.value)


def test_the_same_chain_twice_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    (one,) = write_records(tmp_path / "a", swept(chain(USUAL, 0, 2)))
    (two,) = write_records(tmp_path / "b", swept(chain(USUAL, 0, 3)))
    with pytest.raises(NotARecord, match="K = 1, seed 0; give one of them"):
        read_records([one, two])
    (tmp_path / "none").mkdir()
    with pytest.raises(NotARecord, match="no records"):
        compare([tmp_path / "none"], tmp_path / "out", "x")
    assert not (tmp_path / "out").exists()


def test_a_record_is_small_and_holds_the_words_of_some_failures(tmp_path: Path) -> None:
    one = chain(USUAL, 0, 2)
    (file,) = write_records(tmp_path, swept(one))
    texts = json.loads(file.read_text())["texts"]
    assert list(texts) == ["Iteration 2"]
    failed = [played.item_id for played in one.policies["Iteration 2"] if not played.success and played.status != "error"]
    assert list(texts["Iteration 2"]) == failed[:2]


def test_chains_of_other_parameters_or_data_are_refused_by_name(tmp_path: Path) -> None:
    one = replace(swept(chain(USUAL, 0, 2)), parameters={"finetune.max_steps": 300})
    write_records(tmp_path / "one", one)
    write_records(tmp_path / "two", replace(swept(chain(USUAL, 1, 2)), parameters={"finetune.max_steps": 500}))
    with pytest.raises(NotARecord, match=r"not of one experiment \(finetune\.updates: 300 and 500\)"):
        compare([tmp_path / "one", tmp_path / "two"], tmp_path / "out", "Both")
    write_records(tmp_path / "old", swept(chain(USUAL, 2, 2)))  # tells no parameters, and stands between them
    with pytest.raises(NotARecord, match="300 and 500"):
        compare([tmp_path / "old", tmp_path / "one", tmp_path / "two"], tmp_path / "out", "All")
    for place, seed, digest in (("five", 2, "bb"), ("six", 3, "aa")):
        write_records(tmp_path / place, replace(swept(chain(USUAL, seed, 2)), meta={"data: AgentEval": digest}))
    with pytest.raises(NotARecord, match="data: AgentEval: bb and aa"):
        compare([tmp_path / "five", tmp_path / "six"], tmp_path / "out", "Both")


def test_a_file_given_twice_counts_once(tmp_path: Path) -> None:
    (file,) = write_records(tmp_path / "one", swept(chain(USUAL, 0, 2)))
    compare([tmp_path / "one", file], tmp_path / "out", "Twice")
    assert "1 seed together" in (tmp_path / "out" / "report.md").read_text()


def test_cloning_by_another_rule_is_another_bc_base(tmp_path: Path) -> None:
    usual, plain = chain(USUAL, 0, 2), chain(replace(USUAL, rule="threshold"), 0, 2)
    own = {label: episodes(random.Random(f"plain {label}"), label) for label in ("BC-Base", "BC-Large")}
    plain = replace(plain, policies={**plain.policies, **own})
    by_title = {part.title: part for part in sections(swept(usual, plain))}
    rows = {row[0]: row for row in by_title["Methods"].tables[0].rows}
    assert {"BC-Base, reward weighted", "BC-Base, threshold", "BC-Large, reward weighted", "BC-Large, threshold"} <= set(rows)
    methods = {part.title: part for part in sections(swept(usual, chain(USUAL, 1, 2), plain))}["Methods"].tables[0]
    assert {"BC-Base, reward weighted", "BC-Base, threshold (seed 0)", "BC-Large, threshold (seed 0)"} <= {row[0] for row in methods.rows}
    tested = {row[0]: row for row in by_title["Paired tests"].tables[0].rows}
    gained = sum(new.success and not old.success for new, old in both(plain.policies["Iteration 2"], own["BC-Base"]))
    assert tested["AgentEvol, M = 2, K = 1, rule threshold against BC-Base: overall"][3] == str(gained)


def test_a_hosted_model_is_a_row_and_an_opponent(tmp_path: Path) -> None:
    hosted = {"GPT": episodes(random.Random(9), "GPT")}
    write_records(tmp_path / "records", swept(replace(chain(USUAL, 0, 2), hosted=hosted)))
    compare([tmp_path / "records"], tmp_path / "out", "Hosted")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "\n| GPT | " in text
    assert "AgentEvol, M = 2, K = 1 against GPT: overall" in text


def test_the_usual_setting_stands_first_and_only_what_departs_from_it_is_named() -> None:
    others = [replace(USUAL, merge="cumulative"), replace(USUAL, start_from="previous", rule="threshold")]
    settings = swept(*(chain(setting, 0, 1) for setting in (*others, USUAL))).settings
    assert [setting.told(settings) for setting in settings] == ["K = 1", "K = 1, from previous, rule threshold", "K = 1, merge cumulative"]
    assert others[0].told([others[0], replace(MORE, merge="cumulative")]) == "K = 1", "what all have in common is not said"


def test_ten_samples_stand_after_two() -> None:
    settings = swept(*(chain(replace(USUAL, samples=samples), 0, 1) for samples in ("10", "3+1", "2"))).settings
    assert [setting.samples for setting in settings] == ["2", "3+1", "10"]
