"""Environments give the same text in every process: `python -m benchmarks.determinism [NAME ...] [--episodes 50]`.

Six processes per environment (two for each of three values of PYTHONHASHSEED) play the expert on 50 instructions of AgentTraj-L and
AgentEval (or on all of them, if there are fewer) and hash all observations. The exit code is 1 if two digests differ.
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

HASH_SEEDS = ("0", "1", "2") * 2


def episodes_digest(name: str, episodes: int) -> str:
    """The number of instructions, and the hash of all that the environment returns on them, with lists of actions and rewards."""
    cls = environment_class(name)
    items = (*cls.instructions("train_large"), *cls.instructions("eval"))
    chosen = [items[index * len(items) // episodes] for index in range(episodes)] if len(items) > episodes else items
    records: list[object] = []
    with envs.make(name) as env:
        for item in chosen:
            observation, info = env.reset(options={"item_id": item.item_id})
            records += [item.item_id, item.text, observation, info]
            expert = env.expert()
            while not env.done:
                step = env.step(expert.act(observation)[1])
                observation = step[0]
                records.append(step)
    return f"{len(chosen)} {hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=sorted(ENVIRONMENTS))
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--print-digest", action="store_true", help="print the digest of one environment, computed in this process")
    args = parser.parse_args()
    if args.print_digest:
        print(episodes_digest(args.names[0], args.episodes))
        return 0
    failed = 0
    for name in args.names:
        if reason := environment_class(name).missing():
            print(f"{name:10} cannot be played here: {reason}")
            continue
        command = [sys.executable, "-m", "benchmarks.determinism", name, "--print-digest", "--episodes", str(args.episodes)]
        outputs = [
            subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout.split()
            for seed in HASH_SEEDS
        ]
        equal = len({digest for _, digest in outputs}) == 1
        failed += not equal
        count, digest = outputs[0]
        print(f"{name:10} {count} instructions, {len(HASH_SEEDS)} processes: {'equal' if equal else 'DIFFERENT'} {digest[:12]}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
