"""The random policy: the episodes of a policy that picks uniformly among the actions that an environment lists.

Invariant: it learns nothing and reads nothing, so its episodes depend on the instructions and the seed alone.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from agentevol.data.dataset import read_dataset, read_instruction_list, write_dataset
from agentevol.data.trajectory import Message, Trajectory
from agentevol.data.validation import EpisodeSplit
from agentevol.report.model import RANDOM
from agentevol.rollout.engine import one_line_error
from envs.base import Instruction
from envs.factory import make
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task
from tasks.progress import progress_bar


@cached_task("trajectories", version="1")
def roll_out_random(
    out: Path, *, instructions: Artifact, seed: int, env_versions: dict[str, int], split: EpisodeSplit | None = None, attempt: int = 0
) -> TaskOutput:
    """One episode of random actions per instruction, in the environments that list their actions. Facts: how often each error occurred.

    `split`: that of the instructions; None is AgentEval. `attempt`: how many results of the same episodes ended with errors that no longer
    occur. Only the key needs it.
    """
    items = read_instruction_list(instructions.folder)
    episodes: list[Trajectory] = []
    without_actions: set[str] = set()
    with progress_bar("random baseline") as progress:
        for done, instruction in enumerate(items, 1):
            if instruction.env not in without_actions:
                episode = _run_episode(instruction, split, seed)
                if episode is None:
                    without_actions.add(instruction.env)
                else:
                    episodes.append(episode)
            progress(done, len(items))
    dataset = write_dataset(out / "dataset", episodes, {"policy": RANDOM, "instructions": instructions.digest})
    error_counts = Counter(str(episode.error) for episode in episodes if episode.status == "error")
    return TaskOutput(dataset.digest, "dataset", dataset.counts, {"error_counts": dict(error_counts)})


def errors_persist(episodes: Artifact, *, instructions: Artifact, seed: int, split: EpisodeSplit | None = None) -> bool:
    """Whether every episode that ended with an error still does. Plays them again, until one does not. Inputs as in `roll_out_random`."""
    failed = {episode.item_id for episode in read_dataset(episodes.folder) if episode.status == "error"}
    again = (_run_episode(item, split, seed) for item in read_instruction_list(instructions.folder) if item.item_id in failed)
    return all(episode is not None and episode.status == "error" for episode in again)


def _run_episode(instruction: Instruction, split: EpisodeSplit | None, seed: int) -> Trajectory | None:
    """None if the environment lists no actions. An exception of the environment is recorded in the episode and does not stop the run."""
    split, rng, messages = split or "eval", random.Random(f"{seed} {instruction.item_id}"), [Message("user", "")]
    try:
        with closing(make(instruction.env)) as env:
            _, info = env.reset(options={"item_id": instruction.item_id})
            if "available_actions" not in info:
                return None
            while not env.done:
                action = rng.choice(info["available_actions"])
                observation, *_, info = env.step(action)
                messages += [Message("assistant", action, False), Message("user", observation)]
            episode = _trajectory(env.reward, env.rounds, bool(info["success"]), instruction, split, messages)
            return replace(episode, progress=env.progress)
    except Exception as error:
        episode = _trajectory(0.0, 0, False, instruction, split, messages)
        return replace(episode, status="error", error=f"environment: {one_line_error(error)}")


def _trajectory(
    reward: float, rounds: int, success: bool, instruction: Instruction, split: EpisodeSplit, messages: list[Message]
) -> Trajectory:
    return Trajectory(
        item_id=instruction.item_id,
        env=instruction.env,
        task_type=instruction.task_type,
        split=split,
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
