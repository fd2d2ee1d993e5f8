"""An environment that waits, and chunks of episodes in it, for the benchmark of the cluster. Its nodes import them from here."""

from __future__ import annotations

import time
from pathlib import Path

from agentevol.data.dataset import write_dataset
from agentevol.rollout.sampling import Sampling
from agentevol.settings.rollout import RolloutParams
from envs import registry
from envs.base import Instruction, Step
from tasks.cached_task import TaskOutput, cached_task
from tests.flows.tiny import Pushing

WAIT, ROUNDS = 0.05, 10


class Waiting(Pushing):
    """An episode of ten steps of 50 ms, whatever the policy does."""

    name = "waiting"
    max_rounds = ROUNDS

    @classmethod
    def instruction(cls, item_id: str) -> Instruction:
        return Instruction(item_id, cls.name, "wait", "1", "Wait.")

    def answer(self, text: str) -> Step:
        time.sleep(WAIT)
        return self.refuse("Wait.")


registry.ENVIRONMENTS["waiting"] = "benchmarks.waiting:Waiting"


@cached_task("trajectories", version="1")
def play_chunk(out: Path, *, model: str, chunk: int, steps: int) -> TaskOutput:
    """One chunk of `steps` steps, one episode after the other."""
    from agentevol.rollout.rollout import roll_out

    items = [Waiting.instruction(f"waiting_{chunk}_{number}") for number in range(steps // ROUNDS)]
    settings = RolloutParams(concurrency=1, num_workers=1, max_new_tokens=2, context_length=512, max_repeats=None)
    episodes = roll_out(Path(model), items, sampling=Sampling(temperature=0.0), settings=settings)
    dataset = write_dataset(out / "dataset", episodes, {})
    return TaskOutput(dataset.digest, "dataset", dataset.counts)
