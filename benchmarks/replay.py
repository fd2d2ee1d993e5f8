"""Replay of every trajectory of AgentTraj-L: `python -m benchmarks.replay FOLDER [NAME ...]`; `agentevol collect` fills the folder.

The recorded answers must give the recorded observations, reward, success and rounds. Prints a line per environment; the exit code is 1 if a
trajectory differs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

from agentevol.data.dataset import read_dataset
from agentevol.data.experts import AGENT_TRAJ_L
from agentevol.data.trajectory import Trajectory
from agentevol.gate.replay import replay


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="environments; by default all in the dataset")
    args = parser.parse_args()
    by_environment: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in read_dataset(args.folder / AGENT_TRAJ_L):
        by_environment[trajectory.env].append(trajectory)
    total = equal = 0
    for name in args.names or sorted(by_environment):
        start, trajectories = time.perf_counter(), by_environment[name]
        replayed = {trajectory.item_id: replay(trajectory) for trajectory in trajectories}
        differences = {item_id: difference for item_id, difference in replayed.items() if difference is not None}
        total += len(trajectories)
        equal += len(trajectories) - len(differences)
        seconds = time.perf_counter() - start
        print(f"{name:10} {len(trajectories) - len(differences)} of {len(trajectories)}, {seconds:.0f} s", flush=True)
        for item_id, difference in list(differences.items())[:5]:
            print(f"  {item_id}: {difference}")
    print(f"{'all':10} {equal} of {total}")
    return int(equal < total)


if __name__ == "__main__":
    sys.exit(main())
