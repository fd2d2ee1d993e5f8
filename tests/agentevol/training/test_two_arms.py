"""Every learning rule finds the better of two arms: exploration, filter and learning on a toy environment, from random weights."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from agentevol.data.filtering import filter_by_reward
from agentevol.data.trajectory import Trajectory
from agentevol.rollout.rollout import roll_out
from agentevol.rollout.sampling import Sampling
from agentevol.settings.filter import FilterParams
from agentevol.settings.rollout import RolloutParams
from agentevol.settings.rules import RULES
from agentevol.training.finetune import finetune
from agentevol.training.rules import rule_class
from envs import registry
from envs.base import Instruction, Sizes, TextEnv
from tests.agentevol.training.examples import finetune_params

ROLLOUT = RolloutParams(concurrency=32, num_workers=1, max_new_tokens=1, context_length=128, max_repeats=None)
MOST_ITERATIONS = 6  # clipping lets grpo move slowly; the others need one


class TwoArms(TextEnv):
    """One pull; only the right arm pays. Every letter is an action, so a policy with random weights pulls both arms."""

    name: ClassVar[str] = "arms"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("pull",)
    sizes: ClassVar[Sizes] = Sizes(instructions=6, eval=2, agent_traj=2, agent_traj_l=4)
    max_rounds: ClassVar[int] = 1
    prompt: ClassVar[str] = "Pull."

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        items = [Instruction(f"arms_{n}", "arms", "pull", "easy", f"Machine {n}.") for n in range(6)]
        return tuple(items[2:]), tuple(items[:2])

    @classmethod
    def parse_action(cls, text: str) -> str:
        return "right" if text and ord(text[0]) % 2 == 0 else "left"

    def begin(self, item_id: str) -> str:
        return self.instruction(item_id).text

    def act(self, action: str) -> tuple[str, float, bool]:
        return "Done.", float(action == "right"), True


def explore(policy: Path, iteration: int, record_logprobs: bool = False) -> list[Trajectory]:
    sampling = Sampling(temperature=1.0, iteration=iteration, record_logprobs=record_logprobs)
    return roll_out(policy, TwoArms.catalogue()[0], samples=12, sampling=sampling, settings=ROLLOUT)


def share_right(episodes: list[Trajectory]) -> float:
    return sum(episode.success for episode in episodes) / len(episodes)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name == "grpo" else ()) for name in RULES])
def test_a_rule_learns_which_arm_pays(name: str, small_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENVIRONMENTS, "arms", f"{__name__}:TwoArms")
    rule, policy = rule_class(name), small_models["llama"]
    keep = FilterParams(keep="all" if rule.compares_episodes else "success", deduplicate=False)
    shares = []
    for iteration in range(MOST_ITERATIONS):
        explored = explore(policy, iteration, rule.is_on_policy)
        shares.append(share_right(explored))
        if shares[-1] > 0.7:
            break
        data, _ = filter_by_reward(explored, settings=keep)
        finetune(policy, data, tmp_path / str(iteration), settings=finetune_params(learning_rate=1e-2), max_steps=10, seed=0, rule=name)
        policy = tmp_path / str(iteration)
    assert shares[0] < 0.4
    assert shares[-1] > 0.7
