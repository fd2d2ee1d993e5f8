"""Recorded episodes played again: the same actions must give the same observations, reward and success.

Invariant: a difference is told with the first turn where it shows; a fault of the environment is not a difference and is raised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from agentevol.chat import first_message
from agentevol.findings import Finding
from agentevol.trajectory import Trajectory
from envs.base import UnknownItem
from envs.registry import make

SAMPLE = 25
"""Trajectories per environment that are played again when not all are; which ones depends on their ids alone."""


def replay_findings(trajectories: Sequence[Trajectory], everything: bool) -> list[Finding]:
    """Play all, or a fixed sample per environment, and tell those that differ from their record: one finding at most."""
    differences = {}
    for trajectory in trajectories if everything else _sample(trajectories):
        difference = replay(trajectory)
        if difference is not None:
            differences[trajectory.item_id] = difference
    if not differences:
        return []
    first, difference = next(iter(differences.items()))
    remedy = "the environment has changed since, or the data was edited: remove the expert sets and collect them again"
    what = f"the recorded actions do not give the recorded episode: {first}, {difference}"
    return [Finding("replay", list(differences), len(differences), what, remedy)]


def replay(trajectory: Trajectory) -> str | None:
    """Play the recorded answers in a new environment; None when everything is as recorded, else what differs first."""
    with make(trajectory.env) as env:
        try:
            observation, info = env.reset(options={"item_id": trajectory.item_id})
        except UnknownItem:
            return "there is no such instruction"
        expected = first_message(env.prompt, observation)
        for turn, message in enumerate(trajectory.messages):
            if message.role == "assistant":
                if env.done:
                    return f"message {turn}: the episode was over before it"
                expected, _, _, _, info = env.answer(message.content)
            elif message.content != expected:
                return f"message {turn}: {_short(message.content)} is recorded, {_short(expected)} came"
        if env.reward != trajectory.reward:
            return f"reward {trajectory.reward} is recorded, {env.reward} came"
        if info["success"] != trajectory.success:
            return f"success {trajectory.success} is recorded, {info['success']} came"
        if env.rounds != trajectory.rounds:
            return f"{trajectory.rounds} rounds are recorded, {env.rounds} were played"
    return None


def _sample(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    def place(trajectory: Trajectory) -> bytes:
        return hashlib.sha256(f"replay:{trajectory.item_id}:{trajectory.sample}".encode()).digest()

    by_env: dict[str, list[Trajectory]] = {}
    for trajectory in sorted(trajectories, key=place):
        by_env.setdefault(trajectory.env, []).append(trajectory)
    return [trajectory for env in sorted(by_env) for trajectory in by_env[env][:SAMPLE]]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
