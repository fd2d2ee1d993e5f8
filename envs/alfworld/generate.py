"""Makes games.json, the games that ship: `python -m envs.alfworld.choose`.

Task types take turns; of each, the first numbers whose expert wins within the round limit. Every game of eval is in a room of its own kind.
"""

from __future__ import annotations

import json

from envs.alfworld.environment import FILE, ALFWorld
from envs.alfworld.expert import Householder
from envs.alfworld.games import TASK_TYPES, game
from envs.base import ExpertStuck


def rounds_of(task_type: str, number: int, held_out: bool) -> int | None:
    """The rounds that the expert takes, or None where it does not win in time."""
    played = game(task_type, number, held_out)
    world = played.world()
    expert, observation = Householder(played), f"{world.welcome()}\n\nYour task is to: {played.goal}."
    for rounds in range(1, ALFWorld.max_rounds + 1):
        try:
            observation = world.do(expert.act(observation)[1])
        except ExpertStuck:
            return None
        if played.won(world):
            return rounds
    return None


def choose(count: int, held_out: bool) -> list[tuple[int, int, int, int]]:
    found: list[tuple[int, int, int, int]] = []
    number = 0
    while len(found) < count:
        for kind, task_type in enumerate(TASK_TYPES):
            rounds = rounds_of(task_type, number, held_out)
            if rounds is not None:
                found.append((kind, number, int(held_out), rounds))
        number += 1
    return found[:count]


if __name__ == "__main__":
    sizes = ALFWorld.sizes
    entries = choose(sizes.instructions - sizes.eval, False) + choose(sizes.eval, True)
    FILE.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n", encoding="ascii")
    print(f"{FILE}: {len(entries)} games")
