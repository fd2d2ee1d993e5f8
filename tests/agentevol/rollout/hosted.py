"""Episodes of a hosted model in the counting environment."""

from __future__ import annotations

from typing import Any

from agentevol.data.trajectory import Trajectory
from agentevol.rollout.engine import Usage
from agentevol.rollout.rollout import roll_out
from agentevol.rollout.sampling import Sampling
from agentevol.settings.agent import ActionFormat
from agentevol.settings.engines import EngineParams
from agentevol.settings.rollout import RolloutParams
from tests.agentevol.counting import Counting
from tests.agentevol.endpoint import Endpoint

INSTRUCTIONS = Counting.instructions("explore")


def play(
    endpoint: Endpoint, count: int = 9, settings: dict[str, Any] | None = None, action_format: ActionFormat = "react", **engine: Any
) -> tuple[list[Trajectory], Usage]:
    usage = Usage()
    trajectories = roll_out(
        None,
        INSTRUCTIONS[:count],
        sampling=Sampling(temperature=0.5, top_p=0.9, seed=1),
        policy="hosted",
        settings=RolloutParams(**{"concurrency": 4, "max_retries": 0, **(settings or {})}),
        engine=EngineParams(kind="openai", **{"url": endpoint.url, "model": "counter", **engine}),
        usage=usage,
        action_format=action_format,
    )
    return trajectories, usage
