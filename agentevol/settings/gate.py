"""The parameters of the checks of training data. Imports nothing but pydantic."""

from __future__ import annotations

from typing import Literal

from agentevol.settings.types import Count, Section, Share, parameter


class GateParams(Section):
    """What stops bad training data."""

    max_tokens: Count = parameter(4096, "A longer trajectory stops the run.", effect="extra")
    replay: Literal["none", "sample", "all"] = parameter(
        "sample", "Expert trajectories that are replayed and compared: none, sample (25 per environment), all.", effect="extra"
    )
    min_coverage: Share = parameter(0.0, "Share of the instructions that must be covered, per environment and difficulty.", effect="extra")
