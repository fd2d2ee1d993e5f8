"""The expert sets and the instruction lists, made from the environments' own generators and scripted experts.

Invariant: the same sources give the same bytes on every machine and in every order of calls; nothing is drawn at random, nothing timed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import envs.base
from agentevol.data.artifact_folder import digest_json, is_complete, read_manifest, sha256_file
from agentevol.data.dataset import Dataset, open_dataset, write_dataset, write_instructions
from agentevol.data.react import first_message, format_answer
from agentevol.data.trajectory import Message, Trajectory
from envs.base import ExpertStuck, Instruction, Split
from envs.registry import ENVIRONMENTS, environment_class, make

AGENT_TRAJ, AGENT_TRAJ_L, AGENT_EVAL, EXPLORE = "agenttraj", "agenttraj_l", "agenteval", "explore"
SPLITS: dict[str, Split] = {AGENT_TRAJ: "train", AGENT_TRAJ_L: "train_large", AGENT_EVAL: "eval", EXPLORE: "explore"}
Progress = Callable[[int, int], None]
_RECORDING = 1  # raise it when play_expert records an episode differently, so that sets made before are made again


class ExpertFailed(RuntimeError):
    """A scripted expert did not solve an instruction that it is the expert for: the environment is at fault, no data is written."""


def collect(folder: Path, environments: Sequence[str], on_progress: Progress | None = None) -> dict[str, Dataset]:
    """Make AgentTraj, AgentTraj-L, AgentEval and the explore list below `folder`, or leave those that are complete and current.

    Current means: made from the same instructions and expert sources, of these environments or of these and more. Every instruction is
    played once, as AgentTraj is part of AgentTraj-L. `on_progress(done, total)` is called per episode. Raises ExpertFailed.
    """
    there = _sources(folder)
    names = sorted(set(environments))
    if set(names) < there <= set(ENVIRONMENTS) and all(_current_sets(folder, sorted(there)).values()):
        names = sorted(there)
    made = _current_sets(folder, names)
    for kind in (AGENT_EVAL, EXPLORE):
        split = SPLITS[kind]
        made[kind] = made[kind] or write_instructions(folder / kind, {split: _items(names, split)}, _lineage(names, split))
    if made[AGENT_TRAJ] is None or made[AGENT_TRAJ_L] is None:
        large = _play(_items(names, "train_large"), on_progress)
        chosen = {item.item_id for item in _items(names, "train")}
        small = [replace(trajectory, split="train") for trajectory in large if trajectory.item_id in chosen]
        made[AGENT_TRAJ] = made[AGENT_TRAJ] or write_dataset(folder / AGENT_TRAJ, small, _lineage(names, "train"))
        made[AGENT_TRAJ_L] = made[AGENT_TRAJ_L] or write_dataset(folder / AGENT_TRAJ_L, large, _lineage(names, "train_large"))
    return {kind: dataset for kind, dataset in made.items() if dataset is not None}


def play_expert(env_name: str, instruction: Instruction, split: Split = "train") -> Trajectory:
    """The scripted expert's episode on an instruction, as a policy's would be recorded.

    The first message is the prompt and the first observation; the observation after the last action closes the record.
    Raises ExpertFailed when the expert is stuck, is not understood, or ends without success.
    """
    with make(env_name) as env:
        observation, info = env.reset(options={"item_id": instruction.item_id})
        messages = [Message("user", first_message(env.prompt, observation))]
        expert = env.expert()
        terminated = truncated = False
        while not (terminated or truncated):
            try:
                thought, action = expert.act(observation)
            except ExpertStuck as error:
                raise ExpertFailed(f"{instruction.item_id}: the expert is stuck after {env.rounds} rounds: {error}") from error
            text = format_answer(thought, action)
            if env.parse_action(text) != action:
                raise ExpertFailed(f"{instruction.item_id}: the expert's action {action!r} is read as {env.parse_action(text)!r}")
            observation, _, terminated, truncated, info = env.step(action)
            messages += [Message("assistant", text, True), Message("user", observation)]
    if not info["success"]:
        raise ExpertFailed(f"{instruction.item_id}: the expert ended after {env.rounds} rounds with reward {env.reward}, no success")
    return Trajectory(
        item_id=instruction.item_id,
        env=instruction.env,
        task_type=instruction.task_type,
        split=split,
        policy="expert",
        policy_hash=expert_hash(env_name),
        iteration=0,
        sample=0,
        messages=messages,
        reward=env.reward,
        success=True,
        rounds=env.rounds,
        status="truncated" if truncated else "finished",
    )


@lru_cache(maxsize=None)
def expert_hash(env_name: str) -> str:
    """SHA-256 over the source and data files of an environment: the package right below `envs` that it is in, or its module and what
    lies beside it under its name."""
    environment_class(env_name)  # an unknown name is told with those that exist
    module = ".".join(ENVIRONMENTS[env_name].partition(":")[0].split(".")[:2])
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the source of {module} cannot be found; install the project from its folder")
    origin = Path(spec.origin)
    if origin.name == "__init__.py":
        files = [path for path in origin.parent.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        root = origin.parent
    else:
        files = [origin, *origin.parent.glob(f"{origin.stem}_*.*")]
        root = origin.parent
    digests = {path.relative_to(root).as_posix(): sha256_file(path) for path in files}
    return digest_json(digests)


@lru_cache(maxsize=None)
def world_hash(env_name: str) -> str:
    """SHA-256 over all that decides how an environment behaves: its own files, and the contract it is built on (envs/base.py)."""
    return digest_json([expert_hash(env_name), sha256_file(Path(envs.base.__file__))])


def _play(instructions: Sequence[Instruction], on_progress: Progress | None) -> list[Trajectory]:
    trajectories = []
    for done, instruction in enumerate(instructions, start=1):
        trajectories.append(play_expert(instruction.env, instruction, "train_large"))
        if on_progress is not None:
            on_progress(done, len(instructions))
    return trajectories


def _items(names: Sequence[str], split: Split) -> list[Instruction]:
    """The instructions of a split; those of AgentTraj in the order that they have in AgentTraj-L."""
    if split != "train":
        return [item for name in names for item in environment_class(name).instructions(split)]
    small = {item.item_id for name in names for item in environment_class(name).instructions("train")}
    return [item for item in _items(names, "train_large") if item.item_id in small]


def _lineage(names: Sequence[str], split: Split) -> dict[str, Any]:
    return {
        "policy": "expert",
        "recording": _RECORDING,
        "sources": {name: expert_hash(name) for name in names},
        "instructions": digest_json([[item.item_id, item.text] for item in _items(names, split)]),
    }


def _sources(folder: Path) -> set[str]:
    """The environments that the data below `folder` was made of."""
    return set(read_manifest(folder / EXPLORE).get("lineage", {}).get("sources", ())) if is_complete(folder / EXPLORE) else set()


def _current_sets(folder: Path, names: Sequence[str]) -> dict[str, Dataset | None]:
    return {kind: _current(folder / kind, _lineage(names, split)) for kind, split in SPLITS.items()}


def _current(folder: Path, lineage: dict[str, Any]) -> Dataset | None:
    if not is_complete(folder) or read_manifest(folder).get("lineage") != lineage:
        return None
    return open_dataset(folder)
