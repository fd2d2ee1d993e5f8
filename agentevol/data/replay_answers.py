"""The recorded answers of an episode, played again in a new environment of this process.

Invariant: the answers are read in the format of the conversation.
"""

from __future__ import annotations

from contextlib import closing

from agentevol.data.action_format import format_of, play_answer
from agentevol.data.trajectory import Trajectory
from envs.factory import make


def replay_answers(trajectory: Trajectory) -> tuple[float, float | None]:
    """(reward, progress) of the recorded answers."""
    env, action_format = make(trajectory.env), format_of(trajectory.messages)
    with closing(env):
        env.reset(options={"item_id": trajectory.item_id})
        for message in trajectory.messages:
            if message.role == "assistant" and not env.done:
                play_answer(env, message.content, action_format)
        return float(env.reward), env.progress
