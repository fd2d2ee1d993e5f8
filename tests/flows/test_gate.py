"""A training set that does not pass the gate stops the flow before anything learns from it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentevol.data import experts as collect
from agentevol.data import filtering as datasets
from agentevol.data.artifact_folder import folder_digest
from agentevol.gate.gate import GateFailed
from agentevol.settings.load import SettingsError
from envs import registry
from envs.base import Sizes
from tests.flows.tiny import Pushing, make_project

pytestmark = pytest.mark.usefixtures("prefect_api")


class Unaided(Pushing):
    """The same world where no expert has played."""

    sizes = Sizes(instructions=26, eval=6, agent_traj=0, agent_traj_l=0)


@pytest.fixture
def tiny(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(registry.ENVIRONMENTS):
        monkeypatch.delitem(registry.ENVIRONMENTS, name)
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.tiny:Pushing")
    return make_project(project)


def stored(project: Path, task: str) -> list[Path]:
    return list((project / "runs" / "store").glob(f"{task}-*"))


def test_expert_data_with_another_reward_than_it_replays_to_stops_the_flow(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.clone import clone

    honest = collect.play_expert

    def lying(*given: Any, **named: Any) -> Any:
        episode = honest(*given, **named)
        return replace(episode, messages=[*episode.messages[:-1], replace(episode.messages[-1], content="something else")])

    monkeypatch.setattr(collect, "play_expert", lying)
    with pytest.raises(GateFailed, match=r"replay.*pushing_"):
        clone()
    assert not stored(tiny, "finetune")


def test_an_explored_instruction_of_agenteval_stops_the_flow(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.evolve import evolve

    honest, held_out = datasets.RewardFilter.keep, registry.environment_class("pushing").instructions("eval")[-1]

    def leaking(*given: Any) -> Any:
        yield from honest(*given)
        yield replace(collect.play_expert("pushing", held_out, "train"), split="explore")

    monkeypatch.setattr(datasets.RewardFilter, "keep", leaking)
    with pytest.raises(GateFailed, match=held_out.item_id):
        evolve(iterations=1, overrides=["data.limits.eval=2"])  # what is not played this time must not be learnt from either
    assert len(stored(tiny, "finetune")) == 1, "BC-Base alone was trained"
    assert not stored(tiny, "merge")


def test_an_exploration_without_a_success_stops_the_flow_only_where_coverage_is_asked_for(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.evolve import evolve

    honest = datasets.filter_by_reward
    monkeypatch.setattr(datasets, "keep_by_reward", lambda rows, **named: honest(rows[:0], **named))
    with pytest.raises(GateFailed, match=r"the set is empty(.|\n)*0 of 3 covered, below 0.1"):
        evolve(iterations=1, overrides=["gate.min_coverage=0.1", "data.limits.explore=4", "data.limits.train=4"])
    assert not stored(tiny, "merge")


def test_worlds_without_an_expert_are_scored_and_not_cloned(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.clone import clone
    from flows.evaluate import evaluate

    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.test_gate:Unaided")
    assert evaluate("models/base")["overall"]["n"] == 6
    with pytest.raises(SettingsError, match="environments: pushing given, which have no expert to be cloned"):
        clone()


def test_a_run_keeps_its_data_when_another_one_makes_data_of_other_worlds(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.pipeline import Job, parameters

    job = Job(parameters())
    before = {name: folder_digest(getattr(job.sets, name).folder) for name in ("agenteval", "held_out", "explore", "agenttraj")}
    shutil.rmtree(tiny / "data")
    after = {name: folder_digest(getattr(job.sets, name).folder) for name in before}
    assert after == before
