"""Exploring and evolving on all fourteen worlds in some minutes: `python -m benchmarks.worlds [-S key=value ...]`, from the project's root.

It is `agentevol evolve --params params-worlds.yaml`, but for the expert sets: five instructions of each world are recorded instead of all,
so that SciWorld's 2,120 solutions are not played. Everything else is the product's; the data goes to runs/worlds-few.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from envs.registry import ENVIRONMENTS, environment_class
from flows.cli.main import main

FEW = 5

for _name in ENVIRONMENTS:  # at import, so that processes which the run starts anew see the same
    _cls = environment_class(_name)
    _cls.sizes = replace(_cls.sizes, agent_traj=min(FEW, _cls.sizes.agent_traj), agent_traj_l=min(FEW, _cls.sizes.agent_traj_l))

if __name__ == "__main__":
    sys.argv = ["agentevol", "evolve", "--params", "params-worlds.yaml", "-S", "data.folder=runs/worlds-few", *sys.argv[1:]]
    main()
