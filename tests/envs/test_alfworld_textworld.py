"""ALFWorld's simulator against TextWorld with alfworld's own logic and grammar: the same commands, feedback and end, game by game.

Skipped unless alfworld and textworld[pddl] are there (packages under the GPL come with them: they are no part of this project).
AGENTEVOL_TEXTWORLD sets how many games of each task type are played (one by default; TextWorld takes half a minute for each).
"""

from __future__ import annotations

import os
import random
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from envs.alfworld.environment import game_at, selected_games
from envs.alfworld.expert import ALFWorldExpert
from envs.alfworld.games import TASK_TYPES, Game
from tests.envs.textworld_game import TextWorldGame

GAMES = int(os.environ.get("AGENTEVOL_TEXTWORLD", "1"))
STEPS = 25
needs_textworld = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("textworld", "alfworld", "fast_downward")),
    reason="pip install alfworld (it brings textworld[pddl])",
)


def spread(task_type: str) -> list[int]:
    """Games of a type, spread over all that are chosen, training and eval."""
    own = [index for index, entry in enumerate(selected_games()) if TASK_TYPES[entry[0]] == task_type]
    return [own[(2 * number + 1) * len(own) // (2 * GAMES)] for number in range(GAMES)]


def normalized(text: str) -> tuple[str, list[str]]:
    """A text as (the text without its list, the sorted list), so that neither the order of a list nor "a" and "an" are compared."""
    text = " ".join(text.split())
    return re.sub(r"\ban? [a-z]+ \d+", "#", text), sorted(re.findall(r"\ban? ([a-z]+ \d+)", text))


class ComparedGame:
    """One game in both simulators. Every step is compared."""

    def __init__(self, game: Game, folder: Path) -> None:
        self.game, self.household, self.textworld = game, game.new_household(), TextWorldGame(game, folder)
        self.first = f"{self.household.introduction()}\n\nYour task is to: {game.goal}."
        assert normalized(self.first) == normalized(self.textworld.first)
        self.won = False
        self._compare_commands()

    def execute(self, command: str) -> str:
        observation = self.household.execute(command)
        feedback, self.won = self.textworld.execute(command)
        assert normalized(observation) == normalized(feedback), command
        assert self.game.is_won(self.household) == self.won, command
        if not self.won:
            self._compare_commands()
        return observation

    def _compare_commands(self) -> None:
        assert set(self.household.admissible_commands()) == self.textworld.commands - {"help"}


@needs_textworld
@pytest.mark.slow
@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_the_expert_wins_in_both_at_the_same_step(task_type: str, tmp_path: Path) -> None:
    for index in spread(task_type):
        compared = ComparedGame(game_at(index), tmp_path)
        expert, observation = ALFWorldExpert(compared.game), compared.first
        while not compared.won:
            observation = compared.execute(expert.act(observation)[1])
        compared.textworld.close()


@needs_textworld
@pytest.mark.slow
@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_random_commands_do_the_same_in_both(task_type: str, tmp_path: Path) -> None:
    for index in spread(task_type):
        compared, draw = ComparedGame(game_at(index), tmp_path), random.Random(index)
        done: dict[str, int] = {}
        for _ in range(STEPS):
            if compared.won:
                break
            by_verb: dict[str, list[str]] = {}
            for command in compared.household.admissible_commands():
                by_verb.setdefault(command.partition(" ")[0], []).append(command)
            # The verb that was tried least comes first; "look" and "inventory" come later.
            verb = min(by_verb, key=lambda verb: (done.get(verb, 0) + (verb in ("look", "inventory")), draw.random()))
            done[verb] = done.get(verb, 0) + 1
            compared.execute(draw.choice(by_verb[verb]))
        compared.textworld.close()


@needs_textworld
@pytest.mark.slow
def test_knives_slice_and_lamps_stay_where_they_are(tmp_path: Path) -> None:
    contents = {"countertop 1": ("knife 1", "apple 1", "mug 1"), "desk 1": ("desklamp 1",), "microwave 1": (), "fridge 1": ("egg 1",)}
    compared = ComparedGame(Game(TASK_TYPES[0], "", "apple", "fridge", "put a apple in fridge", contents), tmp_path)
    for command in (
        "go to countertop 1",
        "take knife 1 from countertop 1",
        "slice apple 1 with knife 1",
        "slice apple 1 with knife 1",
        "go to fridge 1",
        "slice egg 1 with knife 1",
        "open fridge 1",
        "move knife 1 to countertop 1",
        "go to countertop 1",
        "move knife 1 to countertop 1",
        "take mug 1 from countertop 1",
        "examine mug 1",
        "go to microwave 1",
        "heat mug 1 with microwave 1",
        "examine mug 1",
        "go to desk 1",
        "use desklamp 1",
        "use desklamp 1",
        "take desklamp 1 from desk 1",
        "move mug 1 to desk 1",
        "go to countertop 1",
        "take apple 1 from countertop 1",
        "examine apple 1",
        "go to microwave 1",
        "heat apple 1 with microwave 1",
        "examine apple 1",
        "go to fridge 1",
        "cool apple 1 with fridge 1",
        "examine apple 1",
        "move apple 1 to fridge 1",
    ):
        compared.execute(command)
    assert compared.won
    compared.textworld.close()
