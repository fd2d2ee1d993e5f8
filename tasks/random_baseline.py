"""The random player: what AgentEval gives to someone who picks blindly among the actions that a world lists.

Invariant: it learns nothing and reads nothing, so its score depends on the instructions and the seed alone.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

from agentevol.data.dataset import read_instruction_list, write_dataset
from agentevol.data.trajectory import Message, Trajectory
from agentevol.report.model import RANDOM
from agentevol.rollout.engine import one_line_error
from envs.base import Instruction
from envs.registry import make
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task
from tasks.progress import bar


@cached_task("trajectories", version="1")
def play_random(out: Path, *, instructions: Artifact, seed: int, env_versions: dict[str, int]) -> TaskOutput:
    """One episode of a player that picks among the available actions, on each instruction of a world that lists them."""
    wanted = read_instruction_list(instructions.folder)
    episodes: list[Trajectory] = []
    silent: set[str] = set()
    """The worlds that list no actions."""
    with bar("playing at random") as tick:
        for done, instruction in enumerate(wanted, 1):
            if instruction.env not in silent:
                episode = _play(instruction, random.Random(f"{seed} {instruction.item_id}"))
                if episode is None:
                    silent.add(instruction.env)
                else:
                    episodes.append(episode)
            tick(done, len(wanted))
    made = write_dataset(out / "dataset", episodes, {"policy": RANDOM, "instructions": instructions.digest})
    faults = Counter(str(episode.error) for episode in episodes if episode.status == "error")
    return TaskOutput(made.digest, "dataset", made.counts, {"faults": dict(faults)})


def _play(instruction: Instruction, draw: random.Random) -> Trajectory | None:
    """None where the world lists no actions. What a world raises is a fault, recorded as one: it must not cost a run its report."""
    messages = [Message("user", "")]
    try:
        with make(instruction.env) as env:
            _, info = env.reset(options={"item_id": instruction.item_id})
            if "available_actions" not in info:
                return None
            while not env.done:
                action = draw.choice(info["available_actions"])
                observation, *_, info = env.step(action)
                messages += [Message("assistant", action, False), Message("user", observation)]
            return _recorded(env.reward, env.rounds, bool(info["success"]), instruction, messages)
    except Exception as error:
        fault = _recorded(0.0, 0, False, instruction, messages)
        return replace(fault, status="error", error=f"environment: {one_line_error(error)}")


def _recorded(reward: float, rounds: int, success: bool, instruction: Instruction, messages: list[Message]) -> Trajectory:
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
