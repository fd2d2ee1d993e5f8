"""The best iteration, early stopping and the champion are decided on the validation split, whatever the scores on AgentEval."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from agentevol.data.trajectory import Message, Trajectory
from agentevol.settings.load import SettingsError
from envs import registry
from envs.base import Instruction
from tests.flows.tiny import Pushing, make_project

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]

VALIDATION_OF_SIX = ["data.limits.explore=14", "evaluate.zero_shot=false", "evaluate.random=false"]
"""Of twenty training instructions six are left over."""
Successes = Mapping[str, Mapping[str, int]]


@pytest.fixture
def tiny(mlflow_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(registry.ENVIRONMENTS):
        monkeypatch.delitem(registry.ENVIRONMENTS, name)
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.tiny:Pushing")
    return make_project(mlflow_project, finetune={"epochs": 1})


def play(monkeypatch: pytest.MonkeyPatch, successes: Successes) -> list[tuple[str, str]]:
    """Replace rollouts: `successes` says how many of the first instructions a policy solves on a split; it solves every explored one.

    Returns the (policy, split) pairs that are played, which the run fills.
    """
    from agentevol.models import model_digest
    from agentevol.rollout import rollout

    played: list[tuple[str, str]] = []

    def roll_out(folder: Path, items: Sequence[Instruction], *, split: str, policy: str, **_: Any) -> list[Trajectory]:
        played.append((policy, split))
        solved = len(items) if split == "explore" else successes[policy][split]
        return [episode(item, split, policy, model_digest(folder), number < solved) for number, item in enumerate(items)]

    monkeypatch.setattr(rollout, "roll_out", roll_out)
    return played


def episode(item: Instruction, split: str, policy: str, digest: str, success: bool) -> Trajectory:
    messages = [Message("user", f"Push.\n\n{item.text}")]
    left = int(item.difficulty)
    for number in range(left if success else 1):
        action = "push" if success else "wait"
        messages.append(Message("assistant", f"Thought: {policy}\nAction: {action}", True))  # another text is another model
        messages.append(Message("user", f"{left - number - success} left."))
    rounds = len(messages) // 2
    return Trajectory(
        item.item_id, "pushing", "push", split, policy, digest, 0, 0, messages, float(success), success, rounds, "finished"
    )  # fmt: skip


def run_of(folder: str) -> tuple[dict[str, Any], dict[str, str], dict[str, float]]:
    """(scores.json, the tags and the metrics of the MLflow run)"""
    from mlflow import MlflowClient

    from tasks.paths import tracking_uri

    client = MlflowClient(tracking_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("agentevol").experiment_id], max_results=1)
    return json.loads((Path(folder) / "scores.json").read_text()), run.data.tags, run.data.metrics


def linked_model() -> str:
    """The policy whose model is runs/latest/model."""
    from agentevol.models import model_digest

    lineage = json.loads(Path("runs/latest/run.json").read_text())
    digest = model_digest(Path("runs/latest/model"))
    (label,) = [label for label, artifacts in lineage.items() if artifacts["model"]["sha256"] == digest]
    return str(label)


def test_a_policy_that_got_worse_is_neither_reported_nor_linked_nor_champion(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With evolve.patience=1, BC-Base at 100 % and iteration 1 at 0 %, iteration 1 became the champion."""
    from flows.evolve import evolve

    played = play(monkeypatch, {"bc-base": {"validation": 6, "eval": 6}, "iteration-1": {"validation": 0, "eval": 0}})
    folder = evolve(iterations=2, overrides=[*VALIDATION_OF_SIX, "evolve.patience=1"])
    scores, tags, metrics = run_of(folder)
    assert ("iteration-2", "eval") not in played, "early stopping"
    assert scores["selected"] == "BC-Base"
    assert linked_model() == "BC-Base"
    assert tags["agentevol.selected"] == "bc-base (best on the validation split)"
    assert (metrics["gain/selected_iteration"], metrics["gain/over_bc_base"]) == (0, 0)
    name, _ = tags["agentevol.champion_model"].split("/")
    assert champion_digest(name) in (None, json.loads(Path(folder, "run.json").read_text())["BC-Base"]["model"]["sha256"])
    assert "Iteration 1" in scores["policies"], "the scores of all iterations are reported"


def champion_digest(name: str) -> str | None:
    from mlflow import MlflowClient

    from tasks.mlflow_champion import _champion
    from tasks.paths import tracking_uri

    champion = _champion(MlflowClient(tracking_uri()), name)
    return champion.tags["sha256"] if champion else None


def test_agenteval_has_no_part_in_the_selection(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.evolve import evolve

    successes = {
        "bc-base": {"validation": 1, "eval": 0},
        "iteration-1": {"validation": 5, "eval": 1},
        "iteration-2": {"validation": 2, "eval": 6},
        "iteration-3": {"validation": 4, "eval": 6},
    }
    played = play(monkeypatch, successes)
    folder = evolve(iterations=3, overrides=[*VALIDATION_OF_SIX, "evolve.patience=2"])
    scores, _, metrics = run_of(folder)
    assert scores["selected"] == "Iteration 1" == linked_model()
    assert metrics["gain/selected_iteration"] == 1
    assert metrics["success_validation/overall"] == pytest.approx(4 / 6)
    scored = [pair for pair in played if pair[1] != "explore"]
    assert len(scored) == len(set(scored)) == 8, "every policy plays the validation split and AgentEval once"
    text = Path(folder, "table.txt").read_text()
    assert "Iteration 1*" in text
    assert "* selected on the validation split (6 instructions), not on AgentEval" in text
    assert "AgentEvol (iteration 1, selected) against BC-Base: +16.7 points" in text
    assert "AgentEvol (iteration 3) against BC-Base: +100.0 points" in text


def test_without_instructions_left_over_the_last_iteration_is_reported_and_none_is_champion(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.evolve import evolve

    play(monkeypatch, {"bc-base": {"eval": 6}, "iteration-1": {"eval": 0}})
    folder = evolve(iterations=1, overrides=["evaluate.zero_shot=false"])
    assert "validation: no instruction is left over" in capsys.readouterr().err
    scores, tags, _ = run_of(folder)
    assert (scores["selected"], scores["validation"], linked_model()) == ("", {}, "Iteration 1")
    assert tags["agentevol.champion"] == "no: without a validation split there is no champion"
    with pytest.raises(SettingsError, match=r"evolve\.patience: 1 given, but early stopping needs validation instructions"):
        evolve(iterations=1, overrides=["evolve.patience=1"])


def test_the_base_model_zero_shot_and_the_random_player_are_columns_and_the_greedy_base_model_plays_once_for_all_seeds(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.evolve import evolve

    played = play(monkeypatch, {"zero-shot": {"eval": 2}, "bc-base": {"eval": 3}, "iteration-1": {"eval": 4}})
    for seed in (0, 1):
        folder = evolve(iterations=1, seed=seed, overrides=["data.limits.validation=0", "evaluate.zero_shot=true"])
        scores = json.loads((Path(folder) / "scores.json").read_text())
        assert list(scores["policies"]) == ["random", "zero-shot", "BC-Base", "Iteration 1"]
        assert scores["policies"]["zero-shot"]["overall"]["successes"] == 2
        assert ("Iteration 1", "zero-shot") in {(test["a"], test["b"]) for test in scores["paired"]}
    assert played.count(("zero-shot", "eval")) == 1


def test_a_small_validation_split_is_announced(tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.evolve import evolve

    play(monkeypatch, {"bc-base": {"validation": 6, "eval": 6}, "iteration-1": {"validation": 0, "eval": 0}})
    evolve(iterations=1, overrides=VALIDATION_OF_SIX)
    assert "validation: 6 instructions in pushing instead of 100 (data.limits.validation)" in capsys.readouterr().err


def test_the_validation_split_has_nothing_of_the_other_splits(tiny: Path) -> None:
    from agentevol.data.dataset import read_dataset, read_instruction_list
    from flows.parameters import load_parameters
    from flows.pipeline import Pipeline

    data = Pipeline(load_parameters(overrides=VALIDATION_OF_SIX)).datasets
    validation = read_instruction_list(data.validation.folder)
    assert len(validation) == 6
    used = {row.item_id for name in ("agenttraj", "agenttraj_l") for row in read_dataset(getattr(data, name).folder)}
    used |= {item.item_id for name in ("explore", "held_out") for item in read_instruction_list(getattr(data, name).folder)}
    assert not used & {item.item_id for item in validation}
    assert {item.item_id for item in validation} <= {item.item_id for item in Pushing.instructions("explore")}
