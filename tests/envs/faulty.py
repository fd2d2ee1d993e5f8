"""A world that raises, hangs or works as its action says, and a server: `python -m tests.envs.faulty IDLE_SECONDS CAP STEP_SECONDS`."""

from __future__ import annotations

import sys
import time

from envs.base import Expert, Instruction, Sizes, TextEnv
from envs.registry import add


class Faulty(TextEnv):
    name = "faulty"
    version = 1
    task_types = ("fault",)
    sizes = Sizes(instructions=4, eval=2, agent_traj=1, agent_traj_l=2)
    max_rounds = 5
    prompt = "Thought: ... Action: ..."

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        items = tuple(Instruction(f"faulty_{number}", "faulty", "fault", "easy", f"number {number}") for number in range(4))
        return items[:2], items[2:]

    def begin(self, item_id: str) -> str:
        return self.instruction(item_id).text

    def act(self, action: str) -> tuple[str, float, bool]:
        if action == "raise":
            raise ConnectionError("the world fell over")
        if action == "look up":
            raise KeyError("no such room")
        if action == "hang":
            time.sleep(15)
        return f"did {len(action)} characters", float(action == "win"), action == "win"

    def expert(self) -> Expert:
        raise NotImplementedError


if __name__ == "__main__":
    from envs.server.run import run

    add("faulty", "tests.envs.faulty:Faulty")
    run("127.0.0.1", 0, [], idle=float(sys.argv[1]), cap=int(sys.argv[2]), step=float(sys.argv[3]))
