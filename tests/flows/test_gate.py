"""A training set that does not pass the gate stops the flow before anything is trained on it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentevol.data import experts, filtering, merging
from agentevol.data.artifact_folder import folder_digest
from agentevol.gate.gate import GateFailed
from agentevol.settings.load import SettingsError
from envs import registry
from envs.base import Sizes
from tasks.collect import subset
from tests.flows.tiny import Pushing, make_project

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]


class Unaided(Pushing):
    """The same environment without expert trajectories."""

    sizes = Sizes(instructions=26, eval=6, agent_traj=0, agent_traj_l=0)


@pytest.fixture
def tiny(mlflow_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(registry.ENVIRONMENTS):
        monkeypatch.delitem(registry.ENVIRONMENTS, name)
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.tiny:Pushing")
    return make_project(mlflow_project)


def stored(project: Path, task: str) -> list[Path]:
    return list((project / "runs" / "store").glob(f"{task}-*"))


def test_expert_data_with_another_reward_than_it_replays_to_stops_the_flow(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.clone import clone

    original = experts.play_expert

    def falsified(*args: Any, **kwargs: Any) -> Any:
        episode = original(*args, **kwargs)
        return replace(episode, messages=[*episode.messages[:-1], replace(episode.messages[-1], content="something else")])

    monkeypatch.setattr(experts, "play_expert", falsified)
    with pytest.raises(GateFailed, match=r"replay.*pushing_"):
        clone()
    assert not stored(tiny, "finetune")


@pytest.mark.parametrize(("step", "method"), [(filtering.RewardFilter, "keep"), (merging.Merger, "merge")])
def test_a_training_set_with_an_instruction_of_agenteval_stops_the_flow(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, step: type, method: str
) -> None:
    from flows.evolve import evolve

    original, held_out = getattr(step, method), registry.environment_class("pushing").instructions("eval")[-1]

    def leaking(*args: Any) -> Any:
        yield from original(*args)
        yield replace(experts.play_expert("pushing", held_out, "train"), split="explore")

    monkeypatch.setattr(step, method, leaking)
    with pytest.raises(GateFailed, match=held_out.item_id):
        evolve(iterations=1, overrides=["data.limits.eval=2"])  # instructions outside the limit must not be trained on either
    assert len(stored(tiny, "finetune")) == 1, "only BC-Base was trained"
    assert bool(stored(tiny, "merge")) == (method == "merge"), "the gate stops the flow right after the step that leaked"


def test_an_exploration_without_a_success_stops_the_flow_only_if_coverage_is_required(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.evolve import evolve

    monkeypatch.setattr(filtering.RewardFilter, "keep", lambda self, trajectories: iter(()))
    with pytest.raises(GateFailed, match=r"the set is empty(.|\n)*0 of 3 covered, below 0.1"):
        evolve(iterations=1, overrides=["gate.min_coverage=0.1", "data.limits.explore=4", "data.limits.train=4"])
    assert not stored(tiny, "merge")


def test_the_limits_of_the_data_do_not_lower_the_required_coverage(tiny: Path) -> None:
    """Two trajectories where the limit takes eight: the set may not be compared with itself."""
    from flows.parameters import load_parameters
    from flows.pipeline import Pipeline

    pipeline = Pipeline(load_parameters(overrides=["data.limits.train=8", "gate.min_coverage=1"]))
    pipeline.check_expert_set("agenttraj")
    complete = pipeline.datasets.agenttraj
    few = subset(complete, split="train", environments=["pushing"], limit=2)
    pipeline.datasets = replace(pipeline.datasets, agenttraj=few)
    with pytest.raises(GateFailed, match=r"of \d covered, below 1"):
        pipeline.check_expert_set("agenttraj")
    few_explored = replace(pipeline.datasets, explore=subset(pipeline.datasets.explore, split="explore", environments=["pushing"], limit=1))
    pipeline.datasets = few_explored
    with pytest.raises(GateFailed, match=r"of \d covered, below 1"):
        pipeline.merge([few])


def test_environments_without_an_expert_are_scored_and_not_cloned(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.clone import clone
    from flows.evaluate import evaluate

    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.test_gate:Unaided")
    assert evaluate("models/base")["overall"]["n"] == 6
    with pytest.raises(SettingsError, match="environments: pushing given, but none of them has an expert to clone"):
        clone()


def test_a_run_keeps_its_data_when_another_run_rebuilds_data_with_other_environments(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.parameters import load_parameters
    from flows.pipeline import Pipeline

    data = Pipeline(load_parameters()).datasets
    before = {name: folder_digest(getattr(data, name).folder) for name in ("agenteval", "held_out", "explore", "agenttraj")}
    shutil.rmtree(tiny / "data")
    after = {name: folder_digest(getattr(data, name).folder) for name in before}
    assert after == before
