"""The random player: what AgentEval gives to someone who picks blindly among the actions that a world lists.

Invariant: it learns nothing and reads nothing, so its score depends on the instructions and the seed alone.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from agentevol import storage
from agentevol.report import RANDOM
from agentevol.trajectory import Message, Trajectory
from envs.registry import make
from tasks.artifact import Artifact
from tasks.keys import Made, stored
from tasks.progress import bar


@stored("trajectories", version="1")
def play_at_random(out: Path, *, instructions: Artifact, seed: int, worlds: dict[str, str]) -> Made:
    """One episode of a player that picks among the available actions, on each instruction of a world that lists them."""
    wanted = [row for rows in storage.read_instructions(instructions.folder).values() for row in rows]
    episodes = []
    with bar("playing at random") as tick:
        for done, instruction in enumerate(wanted, 1):
            with make(instruction.env) as env:
                _, info = env.reset(options={"item_id": instruction.item_id})
                if "available_actions" not in info:
                    continue
                draw, messages = random.Random(f"{seed} {instruction.item_id}"), [Message("user", "")]
                while not env.done:
                    action = draw.choice(info["available_actions"])
                    observation, *_, info = env.step(action)
                    messages += [Message("assistant", action, False), Message("user", observation)]
                episodes.append(_recorded(env.reward, env.rounds, bool(info["success"]), instruction, messages))
            tick(done, len(wanted))
    made = storage.write_dataset(out / "dataset", episodes, {"policy": RANDOM, "instructions": instructions.digest})
    return Made(made.digest, "dataset", made.counts)


def _recorded(reward: float, rounds: int, success: bool, instruction: Any, messages: list[Message]) -> Trajectory:
    return Trajectory(
        item_id=instruction.item_id,
        env=instruction.env,
        task_type=instruction.task_type,
        split="eval",
        policy=RANDOM,
        policy_hash="",
        iteration=0,
        sample=0,
        messages=messages,
        reward=reward,
        success=success,
        rounds=rounds,
        status="finished",
    )
