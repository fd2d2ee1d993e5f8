"""A run is refused before anything is trained if the openings of an environment do not fit the context."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agentevol.data.dataset import write_dataset
from agentevol.data.trajectory import Message, Trajectory
from agentevol.preflight.check import PreflightFailed
from envs import registry
from envs.base import Sizes
from flows.parameters import load_parameters
from flows.pipeline import Pipeline
from tasks.artifact import Artifact
from tasks.rollout import concatenate_chunks
from tests.flows.tiny import Pushing


class Unaided(Pushing):
    """The same environment without expert trajectories."""

    sizes = Sizes(instructions=26, eval=6, agent_traj=0, agent_traj_l=0)


def test_functions_that_do_not_fit_end_the_run_in_one_line(tiny_project: Path) -> None:
    with pytest.raises(PreflightFailed) as caught:
        Pipeline(load_parameters(overrides=["agent.format=function_calling", "rollout.context_length=100"]))
    assert str(caught.value).startswith("models/base: opening of pushing: prompt, functions (function_calling) and first observation have ")
    assert "do not fit the context of 100" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_environment_without_an_expert_is_reset_and_what_fails_is_measured_again(
    tiny_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.test_openings:Unaided")
    short = load_parameters(overrides=["rollout.context_length=10"])
    with monkeypatch.context() as broken:
        broken.setattr(Unaided, "begin", lambda self, item_id: 1 / 0)
        Pipeline(short)  # its rollouts will tell the environment's error
    with pytest.raises(PreflightFailed, match="opening of pushing: prompt and first observation have"):
        Pipeline(short)


def test_episodes_without_a_round_are_counted_by_environment(tiny_project: Path) -> None:
    """Hosted models have no tokenizer here, so their openings cannot be measured before."""
    opening, answer = Message("user", "Push."), Message("assistant", "push", True)
    reason = "the context of g at https://host is full"
    unstarted = Trajectory("pushing_1", "pushing", "push", "eval", "p", "h", 0, 0, [opening], 0.0, False, 0, "truncated", reason)
    started = replace(unstarted, messages=[opening, answer, opening], rounds=1)
    for rows, expected in (([unstarted, started], {"pushing": 1}), ([started], None)):
        dataset = write_dataset(tiny_project / "chunk", rows, {})
        costs = {"seconds": 1.0, "episodes": len(rows), "tokens": 0}
        chunk = Artifact(kind="trajectories", path="chunk", digest=dataset.digest, counts=dataset.counts, facts=costs)
        facts = concatenate_chunks(chunks=[chunk]).facts
        assert facts["truncated"]["context"] == len(rows)
        assert facts.get("unstarted") == expected
