"""Random play: the text of the environments. A player without a goal acts at random, on problems of no instruction.

Invariant: no goal and no expert is in the player's answers: its thought only says that it tries something.
"""

from __future__ import annotations

import random

from agentevol.data.react import first_message, format_answer
from agentevol.data.trajectory import Message
from agentevol.pretraining import problems

_THOUGHTS = ("I try something.", "Let me see what this does.", "I just try this.", "Why not this.")


def episode(rng: random.Random) -> list[Message]:
    """One episode of random play in one of the environments."""
    env, item_id = problems.draw(rng.choices(("textcraft", "maze", "wordle", "babyai"), weights=(3, 2, 2, 4))[0], rng)
    observation, info = env.reset(options={"item_id": item_id})
    messages = [Message("user", first_message(env.prompt, observation))]
    for _ in range(rng.randint(2, min(7, env.max_rounds))):
        text = format_answer(rng.choice(_THOUGHTS), rng.choice(info["available_actions"]))
        observation, _, terminated, truncated, info = env.answer(text)
        messages += [Message("assistant", text, loss=True), Message("user", observation)]
        if terminated or truncated:
            break
    return messages
