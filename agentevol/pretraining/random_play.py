"""Third lesson of the base model: the text of the environments. A player without a goal acts at random, on problems of no instruction.

TextCraft is played with invented recipes, MAZE in random mazes, Wordle with invented words, BabyAI from seeds far beyond the catalogue's.

Invariant: no goal and no expert is in the player's answers: its thought only says that it tries something.
"""

from __future__ import annotations

import random
from functools import cache

import envs
from agentevol.data.react import first_message, format_answer
from agentevol.data.trajectory import Message
from agentevol.pretraining import invented_names
from envs.maze import Maze
from envs.textcraft import Recipe, RecipeBook, TextCraft
from envs.wordle import Wordle

FIRST_FREE_BABYAI_SEED = 100_000
_THOUGHTS = ("I try something.", "Let me see what this does.", "I just try this.", "Why not this.")
_FREE_CELLS = 26


def episode(rng: random.Random) -> list[Message]:
    """One episode of random play in one of the environments."""
    env, item_id = _random_problem(rng)
    observation, info = env.reset(options={"item_id": item_id})
    messages = [Message("user", first_message(env.prompt, observation))]
    for _ in range(rng.randint(2, min(7, env.max_rounds))):
        text = format_answer(rng.choice(_THOUGHTS), rng.choice(info["available_actions"]))
        observation, _, terminated, truncated, info = env.answer(text)
        messages += [Message("assistant", text, loss=True), Message("user", observation)]
        if terminated or truncated:
            break
    return messages


def random_maze(rng: random.Random, rows: int = 10, columns: int = 13) -> list[str]:
    """A maze by depth-first carving; `#` wall, `.` free; about 26 free cells, as in MAZE's own maze."""
    free = {(rng.randrange(1, rows - 1, 2), rng.randrange(1, columns - 1, 2))}
    stack = list(free)
    while stack and len(free) < _FREE_CELLS:
        row, column = stack[-1]
        steps = [(r, c) for r, c in ((2, 0), (-2, 0), (0, 2), (0, -2)) if 0 < row + r < rows - 1 and 0 < column + c < columns - 1]
        steps = [(r, c) for r, c in steps if (row + r, column + c) not in free]
        if not steps:
            stack.pop()
            continue
        r, c = rng.choice(steps)
        free |= {(row + r // 2, column + c // 2), (row + r, column + c)}
        stack.append((row + r, column + c))
    return ["".join("." if (row, column) in free else "#" for column in range(columns)) for row in range(rows)]


@cache
def _invented_textcraft(number: int) -> TextCraft:
    """TextCraft with invented recipes, a few layers deep."""
    rng = random.Random(f"recipes:{number}")
    items = invented_names.items(rng, 60)
    raw, crafted = items[:20], items[20:]
    recipes = []
    for index, name in enumerate(crafted):
        parts = rng.sample([*raw, *crafted[:index]], rng.randint(1, 3))
        recipes.append(Recipe(name, rng.choice((1, 1, 2, 3, 4, 6)), tuple((rng.choice((1, 1, 2, 3, 4, 6, 8)), part) for part in parts)))
    return TextCraft(recipes=RecipeBook(recipes))


def _random_problem(rng: random.Random) -> tuple[envs.TextEnv, str]:
    """An environment, and an item id in it that no instruction has."""
    kind = rng.choices(("textcraft", "maze", "wordle", "babyai"), weights=(3, 2, 2, 4))[0]
    if kind == "textcraft":
        return _invented_textcraft(rng.randrange(200)), f"textcraft_{rng.randrange(40)}"
    if kind == "maze":
        maze = Maze(layout=random_maze(rng))
        start, goal = rng.sample(range(len(maze.cells)), 2)
        return maze, f"maze_{start * len(maze.cells) + goal}"
    if kind == "wordle":
        return Wordle(words=sorted({invented_names.letters(rng).replace(" ", "") for _ in range(120)})), f"wordle_{rng.randrange(10**6)}"
    return envs.make("babyai"), f"babyai_{FIRST_FREE_BABYAI_SEED * 40 + rng.randrange(10**6)}"
