"""The reward of an episode in training: the environment's own, or a weighted sum of success, progress, rounds and a prediction.

Invariant: without an objective it is the trajectory's reward, unchanged. That also holds for an imported conversation that no environment
can replay: nothing else is known about it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from agentevol.data.replay_answers import replay_answers
from agentevol.data.trajectory import TEXT_ONLY, Trajectory
from envs.base import TextEnv
from envs.registry import environment_class, is_registered

Objective = Mapping[str, float]
"""Weights by name (`OBJECTIVE_PARTS`); the reward is the weighted sum. {"progress": 1} is the progress alone."""


class ProgressUnknown(ValueError):
    """A failed episode was recorded without its progress, and it cannot be played again here."""


def episode_reward(trajectory: Trajectory, objective: Objective | None) -> float:
    """The reward of the episode in training. Raises ProgressUnknown, KeyError for a name that is not in OBJECTIVE_PARTS."""
    if objective is None or trajectory.env == TEXT_ONLY:
        return trajectory.reward
    return math.fsum(weight * OBJECTIVE_PARTS[name](trajectory) for name, weight in objective.items())


def episode_progress(trajectory: Trajectory) -> float:
    """The progress of an episode: as recorded, else 1 for a success and 0 for a failure in an environment without a measure.

    A failure that was recorded before there was a progress is played again. Raises ProgressUnknown if that is not possible.
    """
    if trajectory.progress is not None:
        return trajectory.progress
    if trajectory.success:
        return 1.0
    if not is_registered(trajectory.env):
        return 0.0  # an imported conversation
    cls = environment_class(trajectory.env)
    if cls.measure_progress is TextEnv.measure_progress:
        return 0.0
    reason = "its episodes are not deterministic" if not cls.deterministic else cls.missing()
    progress = None
    if reason is None:
        reward, progress = replay_answers(trajectory)
        reason = None if math.isclose(reward, trajectory.reward, abs_tol=1e-9) else f"the same answers give reward {reward:g} here"
    if reason is not None:
        raise ProgressUnknown(
            f"{trajectory.item_id} (sample {trajectory.sample}) was recorded without its progress and cannot be played again: {reason};"
            " explore again in an empty store, or learn with filter.reward: environment"
        )
    return progress or 0.0


def predicted_success(trajectory: Trajectory) -> float:
    """The verifier's prediction; for an episode that none has judged, such as one of an expert set, 1 for a success and 0 for a failure."""
    return float(trajectory.success) if trajectory.predicted_success is None else trajectory.predicted_success


OBJECTIVE_PARTS: dict[str, Callable[[Trajectory], float]] = {
    "reward": lambda trajectory: trajectory.reward,
    "success": lambda trajectory: float(trajectory.success),
    "progress": episode_progress,
    "rounds": lambda trajectory: float(trajectory.rounds),
    "learned": predicted_success,
}
"""What an objective can weigh, by name: the environment's reward, success (1 or 0), progress (0 to 1), the number of rounds, and the
probability of success that a verifier predicts."""
