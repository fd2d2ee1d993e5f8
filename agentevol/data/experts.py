"""The expert sets and the instruction lists, made from the environments' own generators and scripted experts.

Invariant: the same environment versions give the same bytes on every machine and in every order of calls; nothing is drawn at random,
nothing timed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentevol.data.artifact_folder import digest_json, is_complete, read_manifest
from agentevol.data.dataset import Dataset, open_dataset, write_dataset, write_instructions
from agentevol.data.react import first_message, format_answer
from agentevol.data.trajectory import Message, Trajectory
from envs.base import ExpertStuck, Instruction, Split
from envs.factory import make
from envs.registry import ENVIRONMENTS, environment_class

AGENT_TRAJ, AGENT_TRAJ_L, AGENT_EVAL, EXPLORE = "agenttraj", "agenttraj_l", "agenteval", "explore"
SPLITS: dict[str, Split] = {AGENT_TRAJ: "train", AGENT_TRAJ_L: "train_large", AGENT_EVAL: "eval", EXPLORE: "explore"}
Progress = Callable[[int, int], None]
_RECORDING = 1  # raise it when play_expert records an episode differently, so that earlier sets are made again

# Expert trajectories of version 1 carry these hashes of the environments' source files: the published datasets were recorded before
# environments had versions, and another hash would change their rows and their content digests.
_TOOLS_VERSION_1 = "b20384c24c23c85261e36b9765ee087889eefc8826e16c1e582c2459755641f4"
_VERSION_1_HASHES = {
    "academia": _TOOLS_VERSION_1,
    "alfworld": "8a16fd5655ab6477a41b5c5ddfd3311787adcda94b7bb3db82152117fa91d3da",
    "babyai": "9a647bfb77bbdfff5d54174a4559110b5c21288695f1049dad2efbcd59d076bd",
    "bird": "27e2742036b289aa57564e3026cbb8ded5050d92133e617117963eed6fa5fe78",
    "maze": "0634ac5a003ca10b98c03d13b937a42267ce28da9c885c89a6628d53e0316e53",
    "movie": _TOOLS_VERSION_1,
    "sciworld": "692d2d458cbf469d3e749e5c1102be6cc7b60d6a137df09201a0d721556fdee2",
    "sheet": _TOOLS_VERSION_1,
    "textcraft": "01bf635958526d2319a1e772775f8627c4bdb88f66e05ac9faa214062a38e145",
    "todo": _TOOLS_VERSION_1,
    "weather": _TOOLS_VERSION_1,
    "webarena": "cf7c12daefc660d97617c31e01af3c70d7d02ac998827edeb3f47e085c4ff51a",
    "webshop": "59aa52e6997ceb73c72bed72e9b124d21d9d41847eb8a822e287f19cb1b0b0e3",
    "wordle": "1a4ea9513f5feb6d24252aec8bfd15673125db5b8ca283fbab0927b205d07784",
}


class ExpertFailed(RuntimeError):
    """A scripted expert did not solve an instruction that it is the expert for. The environment has a defect; no data is written."""


def collect(folder: Path, environments: Sequence[str], on_progress: Progress | None = None) -> dict[str, Dataset]:
    """Make AgentTraj, AgentTraj-L, AgentEval and the explore list below `folder`, or keep those that are complete and current.

    A set is current if it was made from the same instructions and environment versions, for these environments or for more. Every
    instruction is played once, because AgentTraj is part of AgentTraj-L. `on_progress(done, total)` is called after every episode.
    Raises ExpertFailed.
    """
    existing = _environments(folder)
    names = sorted(set(environments))
    if set(names) < existing <= set(ENVIRONMENTS) and all(_current_sets(folder, sorted(existing)).values()):
        names = sorted(existing)
    datasets = _current_sets(folder, names)
    for kind in (AGENT_EVAL, EXPLORE):
        split = SPLITS[kind]
        datasets[kind] = datasets[kind] or write_instructions(folder / kind, {split: _items(names, split)}, _lineage(names, split))
    if datasets[AGENT_TRAJ] is None or datasets[AGENT_TRAJ_L] is None:
        large = _play(_items(names, "train_large"), on_progress)
        small_ids = {item.item_id for item in _items(names, "train")}
        small = [replace(trajectory, split="train") for trajectory in large if trajectory.item_id in small_ids]
        datasets[AGENT_TRAJ] = datasets[AGENT_TRAJ] or write_dataset(folder / AGENT_TRAJ, small, _lineage(names, "train"))
        datasets[AGENT_TRAJ_L] = datasets[AGENT_TRAJ_L] or write_dataset(folder / AGENT_TRAJ_L, large, _lineage(names, "train_large"))
    return {kind: dataset for kind, dataset in datasets.items() if dataset is not None}


def predates_versions(folder: Path) -> bool:
    """Whether an earlier release made the data below `folder`: its manifests record source hashes, so `collect` makes it again."""
    return "sources" in _explore_lineage(folder)


def play_expert(env_name: str, instruction: Instruction, split: Split = "train") -> Trajectory:
    """The scripted expert's episode on an instruction, recorded like a policy's.

    The first message is the prompt and the first observation; the last message is the observation after the last action.
    Raises ExpertFailed if the expert is stuck, writes an action that is parsed differently, or ends without success.
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


def expert_hash(env_name: str) -> str:
    """The `policy_hash` of an environment's expert trajectories (64 hexadecimal digits); it changes with the environment's version only."""
    version = environment_class(env_name).version
    if version == 1 and env_name in _VERSION_1_HASHES:
        return _VERSION_1_HASHES[env_name]
    return hashlib.sha256(f"expert:{env_name}:v{version}".encode()).hexdigest()


def _play(instructions: Sequence[Instruction], on_progress: Progress | None) -> list[Trajectory]:
    trajectories = []
    for done, instruction in enumerate(instructions, start=1):
        trajectories.append(play_expert(instruction.env, instruction, "train_large"))
        if on_progress is not None:
            on_progress(done, len(instructions))
    return trajectories


def _items(names: Sequence[str], split: Split) -> list[Instruction]:
    """The instructions of a split; those of AgentTraj in their order in AgentTraj-L."""
    if split != "train":
        return [item for name in names for item in environment_class(name).instructions(split)]
    small = {item.item_id for name in names for item in environment_class(name).instructions("train")}
    return [item for item in _items(names, "train_large") if item.item_id in small]


def _lineage(names: Sequence[str], split: Split) -> dict[str, Any]:
    return {
        "policy": "expert",
        "recording": _RECORDING,
        "env_versions": {name: environment_class(name).version for name in names},
        "instructions": digest_json([[item.item_id, item.text] for item in _items(names, split)]),
    }


def _environments(folder: Path) -> set[str]:
    """The environments that the data below `folder` was made from."""
    return set(_explore_lineage(folder).get("env_versions", ()))


def _explore_lineage(folder: Path) -> dict[str, Any]:
    return dict(read_manifest(folder / EXPLORE).get("lineage", {})) if is_complete(folder / EXPLORE) else {}


def _current_sets(folder: Path, names: Sequence[str]) -> dict[str, Dataset | None]:
    return {kind: _current(folder / kind, _lineage(names, split)) for kind, split in SPLITS.items()}


def _current(folder: Path, lineage: dict[str, Any]) -> Dataset | None:
    if not is_complete(folder) or read_manifest(folder).get("lineage") != lineage:
        return None
    return open_dataset(folder)
