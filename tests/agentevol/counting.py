"""A small environment for tests: count from one number to another, one number per round."""

from __future__ import annotations

from typing import Any, ClassVar

from agentevol.data.trajectory import Message, Trajectory
from agentevol.settings.rollout import RolloutParams
from envs.base import Expert, ExpertStuck, Instruction, Sizes, TextEnv, UnknownItem


class Counting(TextEnv):
    """Say the numbers up to the goal in order; `counting_N` goes from N to N + 1 (even N, easy) or N + 2 (odd N, hard)."""

    name: ClassVar[str] = "counting"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("count",)
    sizes: ClassVar[Sizes] = Sizes(instructions=12, eval=3, agent_traj=4, agent_traj_l=8)
    max_rounds: ClassVar[int] = 4
    prompt: ClassVar[str] = "Count up, one number a round."

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.now, self.goal = 0, 0

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        items = [Instruction(f"counting_{n}", "counting", "count", ("easy", "hard")[n % 2], _text(n)) for n in range(12)]
        return tuple(items[3:]), tuple(items[:3])

    def begin(self, item_id: str) -> str:
        number = int(item_id.removeprefix("counting_"))
        if not 0 <= number < 12:
            raise UnknownItem(item_id)
        self.now, self.goal = number, number + 1 + number % 2
        return _text(number)

    def act(self, action: str) -> tuple[str, float, bool]:
        if action != str(self.now + 1):
            return f"No, not {action}.", 0.0, False
        self.now += 1
        won = self.now == self.goal
        return f"You are at {self.now}.", float(won), won

    def expert(self) -> Expert:
        return _Expert(self)


class _Expert:
    def __init__(self, env: Counting) -> None:
        self.env = env

    def act(self, observation: str) -> tuple[str, str]:
        if self.env.now == self.env.goal:
            raise ExpertStuck("already there")
        return f"After {self.env.now} comes the next.", str(self.env.now + 1)


def _text(number: int) -> str:
    return f"Count from {number} to {number + 1 + number % 2}!"


def play_counting(number: int, answers: list[str], sample: int = 0, **changes: object) -> Trajectory:
    """The episode of `counting_{number}` with these actions; `changes` are set on the trajectory afterwards."""
    env = Counting()
    observation, _ = env.reset(options={"item_id": f"counting_{number}"})
    messages = [Message("user", f"{env.prompt}\n\n{observation}")]
    for answer in answers:
        observation, *_ = env.answer(f"Thought: so\nAction: {answer}")
        messages += [Message("assistant", f"Thought: so\nAction: {answer}", True), Message("user", observation)]
    success = env.succeeded(env.reward)
    status = "finished" if success else "truncated"
    trajectory = Trajectory(
        item_id=f"counting_{number}",
        env="counting",
        task_type="count",
        split="explore",
        policy="agentevol",
        policy_hash="abc",
        iteration=1,
        sample=sample,
        messages=messages,
        reward=env.reward,
        success=success,
        rounds=env.rounds,
        status=status,
    )
    for name, value in changes.items():
        setattr(trajectory, name, value)
    return trajectory


def rollout_params(**changes: Any) -> RolloutParams:
    """One process, few slots, short answers, no loop detection."""
    defaults = {"concurrency": 5, "num_workers": 1, "max_new_tokens": 12, "context_length": 512, "max_repeats": None}
    return RolloutParams(**{**defaults, **changes})
