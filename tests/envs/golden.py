"""The text of every environment as three digests each; `python -m tests.envs.golden [NAME ...]` writes them to golden/NAME.json.

Invariant: a file there changes only when its environment's text is changed on purpose, which makes earlier datasets of it another thing.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import astuple, dataclass
from pathlib import Path

from envs import ENVIRONMENTS, TextEnv, make

FOLDER = Path(__file__).with_name("golden")
EPISODES = 20


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


def digests(env: TextEnv) -> dict[str, str]:
    """What an environment says: its instructions and prompt, how every eval instruction begins, and expert episodes word for word."""
    splits = {split: [astuple(item) for item in env.instructions(split)] for split in ("train", "train_large", "explore", "eval")}
    played = (env.instructions("train") or env.instructions("eval"))[:EPISODES]
    return {
        "instructions": _digest([env.prompt, env.max_rounds, splits]),
        "first_observations": _digest([env.reset(options={"item_id": item.item_id})[0] for item in env.instructions("eval")]),
        "expert_episodes": _digest([_told(env, item.item_id) for item in played]),
    }


def written(name: str) -> dict[str, str]:
    """The digests as they are committed."""
    digests: dict[str, str] = json.loads((FOLDER / f"{name}.json").read_text("ascii"))
    return digests


def _told(env: TextEnv, item_id: str) -> list[object]:
    first, turns = expert_episode(env, item_id)
    return [item_id, first, [astuple(turn) for turn in turns]]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


if __name__ == "__main__":
    only_print = sys.argv[1:2] == ["--print"]
    for name in sys.argv[1 + only_print :] or sorted(ENVIRONMENTS):
        text = json.dumps(digests(make(name)), indent=2) + "\n"
        if only_print:
            sys.stdout.write(text)
        else:
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / f"{name}.json").write_text(text, encoding="ascii")
            print(f"{FOLDER / name}.json")
