"""Generates games.json, the games that ship: `python -m envs.alfworld.generate`.

Task types take turns; of each, it takes the first numbers that the expert wins within the round limit. Invariant: the file is a function
of the games and the expert.
"""

from __future__ import annotations

import json

from envs.alfworld.environment import FILE, ALFWorld, SelectedGame
from envs.alfworld.expert import ALFWorldExpert
from envs.alfworld.games import TASK_TYPES, generate_game
from envs.base import ExpertStuck


def expert_rounds(task_type: str, number: int, held_out: bool) -> int | None:
    """The rounds that the expert takes, or None where it does not win within the round limit."""
    game = generate_game(task_type, number, held_out)
    household = game.new_household()
    expert, observation = ALFWorldExpert(game), f"{household.introduction()}\n\nYour task is to: {game.goal}."
    for rounds in range(1, ALFWorld.max_rounds + 1):
        try:
            observation = household.execute(expert.act(observation)[1])
        except ExpertStuck:
            return None
        if game.is_won(household):
            return rounds
    return None


def select_games(count: int, held_out: bool) -> list[SelectedGame]:
    """The first `count` games that the expert wins."""
    selected: list[SelectedGame] = []
    number = 0
    while len(selected) < count:
        for type_index, task_type in enumerate(TASK_TYPES):
            rounds = expert_rounds(task_type, number, held_out)
            if rounds is not None:
                selected.append((type_index, number, int(held_out), rounds))
        number += 1
    return selected[:count]


if __name__ == "__main__":
    sizes = ALFWorld.sizes
    games = select_games(sizes.instructions - sizes.eval, False) + select_games(sizes.eval, True)
    FILE.write_text("[\n" + ",\n".join(json.dumps(game) for game in games) + "\n]\n", encoding="ascii")
    print(f"{FILE}: {len(games)} games")
