"""The same text in every process: `python -m benchmarks.determinism [NAME ...] [--episodes 50]`.

Six processes per environment (two for each of three values of PYTHONHASHSEED) play the expert on 50 instructions of AgentTraj-L and
AgentEval, or on all where there are fewer, and digest all that is said. Ends with 1 where two digests differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys

import envs
from envs.registry import ENVIRONMENTS, environment_class

SEEDS = ("0", "1", "2") * 2


def told(name: str, episodes: int) -> str:
    """The digest of all that an environment says on `episodes` instructions, lists of actions and rewards included."""
    cls = environment_class(name)
    items = (*cls.instructions("train_large"), *cls.instructions("eval"))
    chosen = [items[index * len(items) // episodes] for index in range(episodes)] if len(items) > episodes else items
    said: list[object] = []
    with envs.make(name) as env:
        for item in chosen:
            observation, info = env.reset(options={"item_id": item.item_id})
            said += [item.item_id, item.text, observation, info]
            expert = env.expert()
            while not env.done:
                step = env.step(expert.act(observation)[1])
                observation = step[0]
                said.append(step)
    return f"{len(chosen)} {hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=sorted(ENVIRONMENTS))
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--told", action="store_true", help="print the digest of one environment, in this process")
    asked = parser.parse_args()
    if asked.told:
        print(told(asked.names[0], asked.episodes))
        return 0
    failed = 0
    for name in asked.names:
        if reason := environment_class(name).missing():
            print(f"{name:10} cannot be played here: {reason}")
            continue
        command = [sys.executable, "-m", "benchmarks.determinism", name, "--told", "--episodes", str(asked.episodes)]
        found = [
            subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout.split()
            for seed in SEEDS
        ]
        equal = len({digest for _, digest in found}) == 1
        failed += not equal
        print(
            f"{name:10} {found[0][0]} instructions, {len(SEEDS)} processes: {'equal' if equal else 'DIFFERENT'} {found[0][1][:12]}",
            flush=True,
        )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
