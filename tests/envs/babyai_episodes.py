"""Episodes of BabyAI for tests: an instruction by level and seed, and the expert's episode."""

from __future__ import annotations

from envs.babyai import LEVELS, BabyAI


def item(level: str, seed: int) -> dict[str, str]:
    return {"item_id": f"babyai_{seed * len(LEVELS) + LEVELS.index(level)}"}


def play(env: BabyAI, item_id: str) -> list[tuple[str, str, str]]:
    """The expert's episode as (observation, thought, action) per round."""
    observation, _ = env.reset(options={"item_id": item_id})
    expert = env.expert()
    rounds = []
    while not env.done:
        thought, action = expert.act(observation)
        rounds.append((observation, thought, action))
        observation = env.step(action)[0]
    return rounds
