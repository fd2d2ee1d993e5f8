"""Every trajectory of AgentTraj-L played again: `python -m benchmarks.replay FOLDER [NAME ...]`; `agentevol collect` fills the folder.

The recorded answers must give the recorded observations, reward, success and rounds. A line per environment; ends with 1 where one differs.
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
    parser.add_argument("names", nargs="*", help="environments; all that are there by default")
    asked = parser.parse_args()
    recorded: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in read_dataset(asked.folder / AGENT_TRAJ_L):
        recorded[trajectory.env].append(trajectory)
    total = equal = 0
    for name in asked.names or sorted(recorded):
        began = time.perf_counter()
        differences = {one.item_id: told for one in recorded[name] if (told := replay(one)) is not None}
        total += len(recorded[name])
        equal += len(recorded[name]) - len(differences)
        print(
            f"{name:10} {len(recorded[name]) - len(differences)} of {len(recorded[name])}, {time.perf_counter() - began:.0f} s", flush=True
        )
        for item_id, told in list(differences.items())[:5]:
            print(f"  {item_id}: {told}")
    print(f"{'all':10} {equal} of {total}")
    return int(equal < total)


if __name__ == "__main__":
    sys.exit(main())
