"""The comparison of ways to train BC-Base: candidates are valid, play nothing that is learned from or evaluated on, and are compared on
common seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentevol.data.dataset import write_dataset, write_instructions
from agentevol.data.experts import play_expert
from agentevol.settings.load import load_params
from benchmarks import tuning
from benchmarks.tuning import DEFAULT, Candidate
from envs import registry
from tests import ROOT
from tests.flows.tiny import Pushing, make_project


def test_each_candidate_differs_from_the_default_in_a_valid_way() -> None:
    default = load_params(ROOT / tuning.PARAMS)
    for name, candidate in tuning.CANDIDATES.items():
        changed = load_params(ROOT / tuning.PARAMS, candidate.overrides)
        is_default = changed == default and not candidate.lucky_play and candidate.learns
        assert is_default == (name == DEFAULT), name
    assert set(tuning.SIZES) == set(default.environments)


def project(folder: Path) -> Path:
    make_project(folder)
    train, large, explore, evaluation = (Pushing.instructions(split) for split in ("train", "train_large", "explore", "eval"))
    assert len(train) < len(large) < len(explore)
    write_dataset(folder / "data" / "agenttraj", [play_expert("pushing", item) for item in train], {})
    write_instructions(folder / "data" / "explore", {"explore": explore})
    write_instructions(folder / "data" / "agenteval", {"eval": evaluation})
    return folder


def test_a_candidate_plays_what_it_does_not_learn_from_and_shares_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.tiny:Pushing")
    changes = {"context": Candidate(("rollout.context_length=400",)), "epochs": Candidate(("finetune.epochs=1",))}
    monkeypatch.setattr(tuning, "CANDIDATES", {DEFAULT: Candidate(), "zero-shot": Candidate(learns=False), **changes})
    folder = project(tmp_path)
    records = {name: tuning.measure(folder, name, 0, {"pushing": 10}) for name in tuning.CANDIDATES}
    played = set(records[DEFAULT]["success"]["pushing"])
    assert len(played) == 10
    assert not played & {item.item_id for split in ("train", "eval") for item in Pushing.instructions(split)}
    assert {name: record["updates"] > 0 for name, record in records.items()} == {
        DEFAULT: True,
        "zero-shot": False,
        **dict.fromkeys(changes, True),
    }
    assert records["epochs"]["updates"] < records[DEFAULT]["updates"] == records["context"]["updates"]
    assert len(list((folder / tuning.WORK).glob("*/config.json"))) == 2, "playing with another context needs no other training"
    assert records[DEFAULT]["success"] == tuning.measure(folder, DEFAULT, 0, {"pushing": 10})["success"]


def test_lucky_play_has_the_form_of_an_experts_trajectories() -> None:
    rows = tuning.lucky_trajectories(["textcraft", "wordle"], 2, seed=0)
    assert [row.env for row in rows] == ["textcraft", "textcraft", "wordle", "wordle"]
    for row in rows:
        answers = [message for message in row.messages if message.role == "assistant"]
        assert (len(answers), all(message.loss for message in answers), row.reward) == (row.rounds, True, 1.0)


def record(candidate: str, seed: int, won: str) -> dict[str, Any]:
    """`won`: 1, 0 or e (an error) for each instruction."""
    outcomes = {f"maze_{place}": None if letter == "e" else letter == "1" for place, letter in enumerate(won)}
    common = {"experiment": "same base and data", "updates": 216, "training_seconds": 300, "machine": "a processor, 2 cores"}
    return {"candidate": candidate, "seed": seed, "success": {"maze": outcomes}, **common}


def test_the_report_has_each_candidate_and_its_pairs_with_the_default_of_the_same_seed(tmp_path: Path) -> None:
    other = "weight decay 0.1"
    records = [record(DEFAULT, 0, "1100"), record(DEFAULT, 1, "1111"), record(other, 0, "101e")]
    for number, row in enumerate(records):
        (tmp_path / "outcomes").mkdir(exist_ok=True)
        (tmp_path / "outcomes" / f"{number}.json").write_text(json.dumps(row))
    tuning.write_report(tmp_path)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in (tmp_path / "results.md").read_text().splitlines() if "|" in line
    ]
    by_name = {row[0]: row for row in rows}
    assert by_name[DEFAULT][1] == "seeds 0, 1"
    assert by_name[DEFAULT][3].startswith("75.0 ")
    assert by_name[other][3].startswith("66.7 "), "an error is not in the score"
    assert by_name[other][6] == "1/1", "of the three instructions that both played, seed 0"
    assert "zero-shot" not in by_name
    with pytest.raises(ValueError, match="different base models, data or parameters"):
        tuning.report([*records, record(other, 1, "1111") | {"experiment": "another base"}])
