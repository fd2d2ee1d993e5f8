"""Recorded episodes played again: the same actions must give the same observations, reward and success.

Invariant: a difference is told with the first turn where it shows; a fault of the environment is not a difference and is raised.
"""

from __future__ import annotations

import hashlib
import heapq

from agentevol.data.react import first_message
from agentevol.data.trajectory import Trajectory
from agentevol.gate.finding import Finding
from envs.base import UnknownItem
from envs.registry import make

SAMPLE = 25
"""Trajectories per environment that are played again when not all are; which ones depends on their ids alone."""


class Replays:
    """Episodes played again as they pass by: all of them, or a fixed sample per environment once all have passed."""

    def __init__(self, everything: bool) -> None:
        self.everything = everything
        self._differences: dict[str, str] = {}
        self._samples: dict[str, list[tuple[int, int, Trajectory]]] = {}
        self._passed = 0

    def add(self, trajectory: Trajectory) -> None:
        if self.everything:
            self._play(trajectory)
            return
        self._passed += 1
        place = int.from_bytes(hashlib.sha256(f"replay:{trajectory.item_id}:{trajectory.sample}".encode()).digest(), "big")
        sample, entry = self._samples.setdefault(trajectory.env, []), (-place, -self._passed, trajectory)
        if len(sample) < SAMPLE:
            heapq.heappush(sample, entry)
        else:
            heapq.heappushpop(sample, entry)  # the greatest place leaves

    def findings(self) -> list[Finding]:
        """Those that differ from their record, in one finding at most."""
        for env in sorted(self._samples):
            for *_, trajectory in sorted(self._samples[env], key=lambda entry: entry[:2], reverse=True):
                self._play(trajectory)
        self._samples.clear()
        if not self._differences:
            return []
        first, difference = next(iter(self._differences.items()))
        remedy = "the environment has changed since, or the data was edited: remove the expert sets and collect them again"
        what = f"the recorded actions do not give the recorded episode: {first}, {difference}"
        return [Finding("replay", list(self._differences), len(self._differences), what, remedy)]

    def _play(self, trajectory: Trajectory) -> None:
        difference = replay(trajectory)
        if difference is not None:
            self._differences[trajectory.item_id] = difference


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


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
