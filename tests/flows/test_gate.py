"""A training set that does not pass the gate stops the flow before anything learns from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentevol import collect, datasets
from agentevol.gate import GateFailed
from envs import registry
from tests.flows.tiny import make_project

pytestmark = pytest.mark.usefixtures("prefect_api")


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

    honest = datasets.keep_by_reward
    monkeypatch.setattr(datasets, "keep_by_reward", lambda rows, **named: honest(rows[:0], **named))
    with pytest.raises(GateFailed, match=r"the set is empty(.|\n)*0 of 3 covered, below 0.1"):
        evolve(iterations=1, overrides=["gate.min_coverage=0.1", "data.limits.explore=4", "data.limits.train=4"])
    assert not stored(tiny, "merge")
