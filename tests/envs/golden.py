"""The texts of every environment as digests with its version; `python -m tests.envs.golden [NAME ...]` writes them to golden/NAME.json.

Invariant: the texts of a version never change. Texts that differ need a higher version in the environment's class, because datasets and
stored results are keyed by it; the command refuses to write anything else.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import sys
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from envs import ENVIRONMENTS, TextEnv, make

FOLDER = Path(__file__).with_name("golden")
EPISODES = 20
SAMPLE = 4
"""Every fourth text is in the sample, which is enough to see that another process makes other texts."""
SAMPLED = ("first_observations", "expert_episodes")


@dataclass(frozen=True)
class Turn:
    thought: str
    action: str
    observation: str
    reward: float
    terminated: bool
    truncated: bool


def expert_episode(env: TextEnv, item_id: str) -> tuple[str, list[Turn]]:
    """(first observation, turns) of the expert on an instruction."""
    first, _ = env.reset(options={"item_id": item_id})
    expert, observation, turns = env.expert(), first, []
    while not env.done:
        thought, action = expert.act(observation)
        observation, reward, terminated, truncated, _ = env.step(action)
        turns.append(Turn(thought, action, observation, reward, terminated, truncated))
    return first, turns


def texts(env: TextEnv, every: int = 1) -> dict[str, Any]:
    """Instructions and prompt, first observations of AgentEval, and whole expert episodes; of the last two every first, second, ... one."""
    splits = {split: [astuple(item) for item in env.instructions(split)] for split in ("train", "train_large", "explore", "eval")}
    played = (env.instructions("train") or env.instructions("eval"))[:EPISODES:every]
    return {
        "instructions": [env.prompt, env.max_rounds, splits],
        "first_observations": [env.reset(options={"item_id": item.item_id})[0] for item in env.instructions("eval")[::every]],
        "expert_episodes": [_episode(env, item.item_id) for item in played],
    }


def digests(env: TextEnv) -> dict[str, Any]:
    """The version, and digests of the texts."""
    return _digests(env, texts(env))


def _digests(env: TextEnv, played: dict[str, Any]) -> dict[str, Any]:
    whole = {key: _digest(value) for key, value in played.items()}
    return {"version": env.version, **whole, "sample": _digest([played[key][::SAMPLE] for key in SAMPLED])}


def _sample_digests(env: TextEnv, sample: dict[str, Any]) -> dict[str, Any]:
    return {"version": env.version, "instructions": _digest(sample["instructions"]), "sample": _digest([sample[key] for key in SAMPLED])}


def committed(name: str) -> dict[str, Any]:
    """The digests as they are committed; empty for an environment without a golden file."""
    file = FOLDER / f"{name}.json"
    return dict(json.loads(file.read_text("ascii"))) if file.exists() else {}


def mismatch(name: str, old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """What to do if the committed digests (`old`) are not those of the environment (`new`, or a part of them), or None if they are."""
    command = f"python -m tests.envs.golden {name}"
    if unversioned_change(old, new):
        keys = [key for key in new if old.get(key, new[key]) != new[key]]
        changed = ", ".join([key for key in keys if key != "sample"] or SAMPLED)
        return (
            f"{name}: {changed} changed, but its version is still {new['version']}."
            f" Set version = {new['version'] + 1} in the environment's class, then run `{command}`"
        )
    equal = all(old.get(key) == value for key, value in new.items())
    return None if equal else f"{name}: the golden file is not that of version {new['version']}. Run `{command}`"


def unversioned_change(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether the texts differ although the version is the same. `new` may be a part, and `old` may lack a digest."""
    return old.get("version") == new["version"] and any(old.get(key, value) != value for key, value in new.items())


def describe_second_play(env: TextEnv, first: dict[str, Any], every: int = 1) -> str:
    """What differs when the same texts are made once more: tells a changed text from one that differs from time to time."""
    second = texts(env, every)
    for key, values in first.items():
        for old, new in zip(values, second[key], strict=True):
            if old != new:
                lines = [json.dumps(value, indent=0).replace("\\n", "\n").splitlines() for value in (old, new)]
                return "\n".join(
                    [f"{env.name}: {key} differ between two plays in one process:", *difflib.unified_diff(*lines, lineterm="")]
                )
    return f"{env.name}: a second play gives the same texts"


def write(name: str) -> Path:
    """Write the golden file of an environment. Raises ValueError if its texts changed under the same version."""
    old, new = committed(name), digests(make(name))
    if unversioned_change(old, new):
        raise ValueError(mismatch(name, old, new))
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{name}.json"
    file.write_text(json.dumps(new, indent=2) + "\n", encoding="ascii")
    return file


def _episode(env: TextEnv, item_id: str) -> list[object]:
    first, turns = expert_episode(env, item_id)
    return [item_id, first, [astuple(turn) for turn in turns]]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def main(arguments: list[str]) -> None:
    if arguments[:1] in (["--print"], ["--print-sample"]):
        every, digests_of = (1, _digests) if arguments[0] == "--print" else (SAMPLE, _sample_digests)
        for name in arguments[1:]:
            with make(name) as env:
                played = texts(env, every)
                new = digests_of(env, played)
                if unversioned_change(committed(name), new):
                    print(describe_second_play(env, played, every), file=sys.stderr)
                print(json.dumps({name: new}))
        return
    for name in arguments or sorted(ENVIRONMENTS):
        try:
            print(write(name))
        except ValueError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
