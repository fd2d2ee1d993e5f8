"""A run on all fourteen environments in a few minutes: `python -m benchmarks.all_environments [-S key=value ...]`, from the project's root.

It is `agentevol evolve --params params-all-environments.yaml` with smaller expert sets: five instructions of each environment instead of
all, so that SciWorld's 2,120 solutions are not replayed. The data goes to runs/all-environments-small.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from envs.registry import ENVIRONMENTS, environment_class
from flows.cli.main import main

INSTRUCTIONS = 5

for _name in ENVIRONMENTS:  # at import, so that worker processes see the same
    _cls = environment_class(_name)
    _cls.sizes = replace(
        _cls.sizes, agent_traj=min(INSTRUCTIONS, _cls.sizes.agent_traj), agent_traj_l=min(INSTRUCTIONS, _cls.sizes.agent_traj_l)
    )

if __name__ == "__main__":
    sys.argv = [
        "agentevol",
        "evolve",
        "--params",
        "params-all-environments.yaml",
        "-S",
        "data.folder=runs/all-environments-small",
        *sys.argv[1:],
    ]
    main()
