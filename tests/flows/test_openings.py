"""A run is refused before anything is trained if the openings of an environment do not fit the context."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentevol.preflight.check import PreflightFailed
from envs import registry
from envs.base import Sizes
from flows.parameters import load_parameters
from flows.pipeline import Pipeline
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
