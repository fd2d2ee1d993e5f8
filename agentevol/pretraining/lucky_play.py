"""Lucky play: random play that happened to reach a goal, shortened to the actions that mattered.

BabyAI, MAZE and Wordle are played with their own goals; in ALFWorld, TextCraft and WebShop the goal is chosen afterwards (hindsight.py).

Invariant: no expert, no plan and no instruction is involved. Every action was drawn at random among the available ones; the thoughts are
written afterwards and describe the state and the action that follows (narration.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import envs
from agentevol.data.react import first_message, format_answer
from agentevol.data.trajectory import Message
from agentevol.pretraining import hindsight, narration, problems
from agentevol.pretraining.shorten import shorten, without_loops

WEIGHTS = {"alfworld": 2, "babyai": 8, "maze": 2, "textcraft": 8, "webshop": 1, "wordle": 1}
"""How often each environment is played."""
_MAX_ACTIONS = {"babyai": 64, "maze": 300, "wordle": 6}
"""Of a random player: a long walk finds goals that a short one does not."""
_MAX_REPLAYS = {"alfworld": 200, "babyai": 60, "maze": 400, "textcraft": 200, "webshop": 50}
"""For shortening. Wordle's guesses all stay: without them, the last one would be a guess at nothing."""
_HINDSIGHT: dict[str, Callable[..., list[str]]] = {
    "alfworld": hindsight.alfworld,
    "textcraft": hindsight.textcraft,
    "webshop": hindsight.webshop,
}


def episode(rng: random.Random, name: str | None = None) -> list[Message] | None:
    """One episode as a conversation, or None where luck failed. `name`: the environment; None: one by the weights."""
    name = name or rng.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))[0]
    env, item_id = problems.draw(name, rng)
    limit, env.max_rounds = env.max_rounds, 1000  # type: ignore[misc]  # the limit of rounds holds after shortening
    actions = _HINDSIGHT[name](rng, env, item_id) if name in _HINDSIGHT else _play(rng, env, item_id, _MAX_ACTIONS[name])
    if actions and name in _MAX_REPLAYS:
        actions = shorten(actions, lambda candidate: succeeds(env, item_id, candidate), _MAX_REPLAYS[name])
    if not actions or len(actions) > limit or not succeeds(env, item_id, actions):
        return None
    return _conversation(rng, env, item_id, actions)


def succeeds(env: envs.TextEnv, item_id: str, actions: Sequence[str]) -> bool:
    """Whether the actions are available one after the other and the last one reaches the goal."""
    _, info = env.reset(options={"item_id": item_id})
    for index, action in enumerate(actions):
        if action not in info["available_actions"] and not action.startswith("search["):
            return False
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            return bool(info["success"]) and index == len(actions) - 1
    return False


def _play(rng: random.Random, env: envs.TextEnv, item_id: str, max_actions: int) -> list[str]:
    """Random actions up to the goal, without walks in a circle where they can be left out; none if it is not reached."""
    observation, info = env.reset(options={"item_id": item_id})
    actions: list[str] = []
    observations: list[str] = []
    while info["available_actions"] and len(actions) < max_actions:
        observations.append(observation)
        actions.append(rng.choice(info["available_actions"]))
        observation, _, terminated, truncated, info = env.step(actions[-1])
        if terminated or truncated:
            if not info["success"]:
                return []
            is_shortened = env.name in _MAX_REPLAYS
            return without_loops(actions, observations, lambda kept: succeeds(env, item_id, kept)) if is_shortened else actions
    return []


def _conversation(rng: random.Random, env: envs.TextEnv, item_id: str, actions: Sequence[str]) -> list[Message] | None:
    """The episode with a thought before every action; None if it begins as an instruction does, because hindsight can word its goal."""
    observation, _ = env.reset(options={"item_id": item_id})
    if observation in problems.instruction_observations(env.name):
        return None
    messages = [Message("user", first_message(env.prompt, observation))]
    thoughts = narration.thoughts(env, actions, rng)
    for action in actions:
        messages.append(Message("assistant", format_answer(next(thoughts), action), loss=True))
        observation, *_ = env.step(action)
        messages.append(Message("user", observation))
    return messages
