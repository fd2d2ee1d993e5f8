"""The table of docs/reference/environments.md: `python -m benchmarks.environments [NAME ...] [--most N]`.

Plays the expert on AgentTraj-L and AgentEval (at most N of each per environment), in this process, and on a server that it starts on this
machine; prints a line of Markdown per environment. Times are medians.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import envs
from envs.base import Split
from envs.registry import ENVIRONMENTS, environment_class

# Table 2 of arXiv 2406.04151: instructions, AgentEval, AgentTraj, AgentTraj-L, task types.
PAPER = {
    "webshop": (6910, 200, 1000, 3930, 1),
    "webarena": (812, 20, 0, 0, 3),
    "maze": (240, 25, 100, 215, 1),
    "wordle": (980, 25, 500, 955, 1),
    "alfworld": (3827, 200, 500, 2420, 6),
    "sciworld": (2320, 200, 1000, 2120, 30),
    "babyai": (900, 90, 400, 810, 40),
    "textcraft": (544, 100, 300, 374, 1),
    "weather": (343, 20, 160, 311, 1),
    "movie": (238, 20, 100, 215, 1),
    "academia": (20, 20, 0, 0, 1),
    "sheet": (20, 20, 0, 0, 1),
    "todo": (155, 20, 70, 135, 1),
    "bird": (3200, 200, 2000, 3000, 1),
}

HEADER = (
    "Sizes: ours / the paper's\n\n| environment | task types | instructions | AgentEval | AgentTraj | AgentTraj-L | expert succeeds "
    "| rounds: median / 90 % / most "
    "| limit | observation, characters: median / 95 % | reset, ms: here / served | step, ms: here / served |\n" + "|---" * 12 + "|"
)

COUNTED: list[list[Split]] = [["explore", "eval"], ["eval"], ["train"], ["train_large"]]


def spread(items: tuple[envs.Instruction, ...], most: int) -> list[envs.Instruction]:
    return list(items) if len(items) <= most else [items[index * len(items) // most] for index in range(most)]


def row(name: str, most: int, url: str) -> str:
    cls = environment_class(name)
    items = spread(cls.instructions("train_large"), most) + spread(cls.instructions("eval"), most)
    env = envs.make(name)
    wins, rounds, lengths, resets, steps = 0, [], [], [], []
    for item in items:
        observation = timed(resets, lambda item=item: env.reset(options={"item_id": item.item_id}))[0]
        expert = env.expert()
        while not env.done:
            _, action = expert.act(observation)
            observation = timed(steps, lambda action=action: env.step(action))[0]
            lengths.append(len(observation))
        wins += env.succeeded(env.reward)
        rounds.append(env.rounds)
    env.close()
    served_resets, served_steps = served(name, items[:20], url)
    ours = [len(cls.task_types), *(sum(len(cls.instructions(split)) for split in splits) for splits in COUNTED)]
    papers = [PAPER[name][-1], *PAPER[name][:-1]] if name in PAPER else ["-"] * 5
    rounds.sort()
    lengths.sort()
    cells = [
        name,
        *(f"{one} / {other}" for one, other in zip(ours, papers, strict=True)),
        f"{wins} of {len(items)}",
        f"{statistics.median(rounds):g} / {rounds[int(0.9 * len(rounds))]} / {rounds[-1]}",
        cls.max_rounds,
        f"{statistics.median(lengths):.0f} / {lengths[int(0.95 * len(lengths))]}",
        f"{1e3 * statistics.median(resets):.2g} / {1e3 * statistics.median(served_resets):.2g}",
        f"{1e3 * statistics.median(steps):.2g} / {1e3 * statistics.median(served_steps):.2g}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def served(name: str, items: list[envs.Instruction], url: str) -> tuple[list[float], list[float]]:
    here, there = envs.make(name), envs.make(name, server=url)
    resets: list[float] = []
    steps: list[float] = []
    for item in items:
        observation, _ = here.reset(options={"item_id": item.item_id})
        timed(resets, lambda item=item: there.reset(options={"item_id": item.item_id}))
        expert = here.expert()
        while not here.done:
            _, action = expert.act(observation)
            observation = here.step(action)[0]
            timed(steps, lambda action=action: there.step(action))
    for env in (here, there):
        env.close()
    return resets, steps


def timed(into: list[float], call):  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    result = call()
    into.append(time.perf_counter() - began)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=sorted(ENVIRONMENTS))
    parser.add_argument("--most", type=int, default=100_000, help="instructions of each split that are played")
    asked = parser.parse_args()
    command = "from flows.cli.main import main; main()"
    server = subprocess.Popen([sys.executable, "-c", command, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    server.stdout.readline()
    url = server.stdout.readline().split()[0]
    try:
        print(HEADER)
        for name in asked.names:
            reason = environment_class(name).missing()
            print(f"| {name} | cannot be played here: {reason} |" if reason else row(name, asked.most, url), flush=True)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
