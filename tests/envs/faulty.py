"""An environment that raises, hangs or works as its action says; `python -m tests.envs.faulty IDLE SESSIONS STEP` serves it (seconds)."""

from __future__ import annotations

import sys
import time

from envs.base import EnvironmentFull, Expert, Instruction, Sizes, TextEnv
from envs.registry import add


class Faulty(TextEnv):
    name = "faulty"
    version = 1
    task_types = ("error",)
    sizes = Sizes(instructions=4, eval=2, agent_traj=1, agent_traj_l=2)
    max_rounds = 5
    prompt = "Thought: ... Action: ..."
    is_full = False

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        items = tuple(Instruction(f"faulty_{number}", "faulty", "error", "easy", f"number {number}") for number in range(4))
        return items[:2], items[2:]

    def begin(self, item_id: str) -> str:
        if Faulty.is_full:
            raise EnvironmentFull("close some")
        return self.instruction(item_id).text

    def act(self, action: str) -> tuple[str, float, bool]:
        if action == "raise":
            raise ConnectionError("the environment failed")
        if action == "look up":
            raise KeyError("no such room")
        if action in ("fill", "empty"):
            Faulty.is_full = action == "fill"
        if action == "hang":
            time.sleep(15)
        return f"did {len(action)} characters", float(action == "win"), action == "win"

    def measure_progress(self) -> float | None:
        return 0.0

    def expert(self) -> Expert:
        raise NotImplementedError


if __name__ == "__main__":
    from envs.server.run import run
    from envs.server.sessions import Limits

    add("faulty", "tests.envs.faulty:Faulty")
    idle_seconds, max_sessions, step_seconds = sys.argv[1:]
    run("127.0.0.1", 0, [], Limits(int(max_sessions), float(idle_seconds), float(step_seconds)))
