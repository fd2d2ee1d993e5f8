"""Replay of recorded episodes: the same actions must give the same observations, reward and success.

Invariant: a difference names the first message at which it shows. An error of the environment is not a difference; it is raised.
"""

from __future__ import annotations

import hashlib
import heapq

from agentevol.data.action_format import format_of, play_answer, prompt
from agentevol.data.react import first_message
from agentevol.data.trajectory import Trajectory
from agentevol.gate.finding import Finding
from envs.base import UnknownItem
from envs.factory import make

SAMPLE_SIZE = 25
"""Trajectories per environment that are replayed when not all are. Their ids decide which ones."""


class ReplayCheck:
    """Replays the trajectories that are added: with `replay_all` each of them at once, else a fixed sample per environment at the end."""

    def __init__(self, replay_all: bool) -> None:
        self.replay_all = replay_all
        self._differences: dict[str, str] = {}
        self._samples: dict[str, list[tuple[int, int, Trajectory]]] = {}
        self._count = 0

    def add(self, trajectory: Trajectory) -> None:
        if self.replay_all:
            self._replay(trajectory)
            return
        self._count += 1
        rank = int.from_bytes(hashlib.sha256(f"replay:{trajectory.item_id}:{trajectory.sample}".encode()).digest(), "big")
        sample, entry = self._samples.setdefault(trajectory.env, []), (-rank, -self._count, trajectory)
        if len(sample) < SAMPLE_SIZE:
            heapq.heappush(sample, entry)
        else:
            heapq.heappushpop(sample, entry)  # drops the entry with the highest rank

    def findings(self) -> list[Finding]:
        """At most one finding, which lists the trajectories that differ from their record."""
        for env in sorted(self._samples):
            for *_, trajectory in sorted(self._samples[env], key=lambda entry: entry[:2], reverse=True):
                self._replay(trajectory)
        self._samples.clear()
        if not self._differences:
            return []
        item_id, difference = next(iter(self._differences.items()))
        remedy = "the environment has changed since, or the data was edited: remove the expert sets and collect them again"
        problem = f"the recorded actions do not reproduce the recorded episode: {item_id}, {difference}"
        return [Finding("replay", list(self._differences), len(self._differences), problem, remedy)]

    def _replay(self, trajectory: Trajectory) -> None:
        difference = replay(trajectory)
        if difference is not None:
            self._differences[trajectory.item_id] = difference


def replay(trajectory: Trajectory) -> str | None:
    """Give the recorded answers to a new environment. None if it reproduces the record, else the first difference."""
    with make(trajectory.env) as env:
        try:
            observation, info = env.reset(options={"item_id": trajectory.item_id})
        except UnknownItem:
            return "there is no such instruction"
        action_format = format_of(trajectory.messages)
        expected = first_message(prompt(env, action_format), observation)
        for index, message in enumerate(trajectory.messages):
            if message.role == "assistant":
                if env.done:
                    return f"message {index}: the episode was already over"
                expected, _, _, _, info = play_answer(env, message.content, action_format)
            elif message.content != expected:
                return f"message {index}: {_short(message.content)} is recorded, the replay gives {_short(expected)}"
        if env.reward != trajectory.reward:
            return f"reward {trajectory.reward} is recorded, the replay gives {env.reward}"
        if info["success"] != trajectory.success:
            return f"success {trajectory.success} is recorded, the replay gives {info['success']}"
        if env.rounds != trajectory.rounds:
            return f"{trajectory.rounds} rounds are recorded, the replay has {env.rounds}"
    return None


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
