"""The parameters of the checks of training data. Imports nothing but pydantic."""

from __future__ import annotations

from typing import Literal

from agentevol.settings.types import Count, Section, Share, parameter


class GateParams(Section):
    """What stops bad training data."""

    max_tokens: Count = parameter(4096, "A trajectory with more tokens than this stops the run.", effect="extra")
    replay: Literal["none", "sample", "all"] = parameter(
        "sample", "Expert trajectories that the gate replays and compares: none, sample (25 per environment), all.", effect="extra"
    )
    min_coverage: Share = parameter(
        0.0, "The minimum share of instructions that must have a trajectory, per environment and difficulty.", effect="extra"
    )
