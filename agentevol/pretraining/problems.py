"""Problems for pretraining: environments and item ids that no instruction uses.

TextCraft has invented recipes, MAZE random mazes, Wordle invented words, BabyAI and ALFWorld numbers far beyond those of their
instructions, ALFWorld only in rooms of training, and WebShop other products.

Invariant: a problem depends on the random generator alone, and its first observation is that of no instruction of any split. Without this
check, every eighth BabyAI problem would begin with the words of some instruction, because small views without objects recur.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from functools import cache

import envs
from agentevol.pretraining import invented_names
from envs.alfworld import ALFWorld
from envs.alfworld.games import TASK_TYPES, Game, generate_game
from envs.babyai import BabyAI
from envs.maze import Maze
from envs.textcraft import Recipe, RecipeBook, TextCraft
from envs.webshop import WebShop
from envs.webshop.goals import Goal, generate_goal
from envs.webshop.products import generate_products
from envs.webshop.search import Shop
from envs.wordle import Wordle

FIRST_FREE_BABYAI_SEED = 100_000
FIRST_FREE_ALFWORLD_NUMBER = 1_000_000
_FREE_CELLS = 26
_FAMILY_SHARE = 0.5


class _WithoutProgress:
    """For an environment whose progress is not measured: its goal may be none at all while its actions are sought, or measuring takes
    longer than random play (a shortest path at every step of a maze; a fifth of the time of BabyAI)."""

    def measure_progress(self) -> float:
        return 0.0


class FreeTextCraft(_WithoutProgress, TextCraft):
    """TextCraft whose goal item can be replaced."""

    goal_override: str | None = None

    def begin(self, item_id: str) -> str:
        observation = super().begin(item_id)
        if self.goal_override is None:
            return observation
        before, _, _ = observation.rpartition(f"{self.goal}.")
        self.goal = self.goal_override
        return f"{before}{self.goal}."


class FreeMaze(_WithoutProgress, Maze):
    """A maze of its own, for random walks."""


class FreeBabyAI(_WithoutProgress, BabyAI):
    """BabyAI for random play."""


class FreeALFWorld(_WithoutProgress, ALFWorld):
    """ALFWorld with a game of its own, whatever the item id."""

    def __init__(self, game: Game) -> None:
        super().__init__()
        self.free_game = game

    def begin(self, item_id: str) -> str:
        self.game, self.household = self.free_game, self.free_game.new_household()
        return f"{self.household.introduction()}\n\nYour task is to: {self.game.goal}."


class FreeWebShop(WebShop):
    """WebShop with products of its own, and one goal whatever the item id."""

    def __init__(self, shop: Shop, goal: Goal) -> None:
        super().__init__()
        self.shop, self.free_goal = shop, goal

    def begin(self, item_id: str) -> str:
        self._goals = (self.free_goal,)
        return super().begin("webshop_0")


Problem = tuple[envs.TextEnv, str]
"""An environment and an item id of it."""


def draw(name: str, rng: random.Random) -> Problem:
    """A problem of the environment `name`: one of alfworld, babyai, maze, textcraft, webshop, wordle."""
    while True:
        env, item_id = _DRAW[name](rng)
        if env.reset(options={"item_id": item_id})[0] not in instruction_observations(name):
            return env, item_id


@cache
def instruction_observations(name: str) -> frozenset[str]:
    """The first observations of all instructions of an environment, AgentEval's and the others. Takes some seconds the first time."""
    env = envs.make(name)
    instructions = [*env.instructions("eval"), *env.instructions("explore")]
    return frozenset(env.reset(options={"item_id": instruction.item_id})[0] for instruction in instructions)


def _textcraft(rng: random.Random) -> Problem:
    """A goal over one of 200 books of invented recipes."""
    return FreeTextCraft(recipes=_invented_book(rng.randrange(200))), f"textcraft_{rng.randrange(40)}"


def _alfworld(rng: random.Random) -> Problem:
    """A game of any type in a room of training."""
    number = FIRST_FREE_ALFWORLD_NUMBER + rng.randrange(10**6)
    return FreeALFWorld(generate_game(rng.choice(TASK_TYPES), number, held_out=False)), "alfworld_0"


def _webshop(rng: random.Random) -> Problem:
    """A goal for one of a thousand other products."""
    product = rng.choice(list(_other_shop().products.values()))
    return FreeWebShop(_other_shop(), generate_goal(product, rng.randrange(10**6))), "webshop_0"


@cache
def _other_shop() -> Shop:
    return Shop(generate_products(2000)[1000:])


def _maze(rng: random.Random) -> Problem:
    """Two cells of a random maze."""
    environment = FreeMaze(layout=random_maze(rng))
    start, goal = rng.sample(range(len(environment.cells)), 2)
    return environment, f"maze_{start * len(environment.cells) + goal}"


def _wordle(rng: random.Random) -> Problem:
    """A word of a list of invented words."""
    return Wordle(words=sorted({invented_names.letters(rng).replace(" ", "") for _ in range(120)})), f"wordle_{rng.randrange(10**6)}"


def _babyai(rng: random.Random) -> Problem:
    """A mission of any level."""
    return FreeBabyAI(), f"babyai_{FIRST_FREE_BABYAI_SEED * 40 + rng.randrange(10**6)}"


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
def _invented_book(number: int) -> RecipeBook:
    """Invented recipes, a few layers deep."""
    return RecipeBook(invented_recipes(random.Random(f"recipes:{number}"), raw=20, crafted=40))


def invented_recipes(rng: random.Random, raw: int, crafted: int) -> list[Recipe]:
    """`crafted` recipes over about `raw` raw items; a recipe uses raw items and items that are made before it.

    About half of them belong to families, as in real recipe books: many things that are made from one material and bear its name
    (`dark brai log`, `dark brai planks`, `dark brai door`), some of them with one part that many things need.
    """
    names = invented_names.items(rng, raw + crafted)
    families = _Families(rng, names[:raw])
    recipes: list[Recipe] = []
    made: list[str] = []
    for name in names[raw:]:
        recipe = families.recipe({*names, *made}) if rng.random() < _FAMILY_SHARE else None
        if recipe is None:
            parts = rng.sample([*names[:raw], *made], rng.randint(1, 3))
            recipe = Recipe(name, rng.choice((1, 1, 2, 3, 4, 6)), tuple((_amount(rng), part) for part in parts))
        recipes.append(recipe)
        made.append(recipe.output)
    return recipes


class _Families:
    """Items named after the material that they are made of."""

    def __init__(self, rng: random.Random, raw: Sequence[str]) -> None:
        self._rng = rng
        self._items: dict[str, list[str]] = {}
        """By the name of a material, the items made of it so far; the first one is raw."""
        for name in rng.sample(list(raw), max(1, len(raw) // 6)):
            words = name.split()
            self._items[name if len(words) == 1 else " ".join(words[:-1])] = [name]
        self._common = rng.choice(list(raw))

    def recipe(self, taken: Collection[str]) -> Recipe | None:
        """The next thing of a random material; None if its name is taken."""
        material, items = self._rng.choice(list(self._items.items()))
        output = f"{material} {self._rng.choice(invented_names.NOUNS)}"
        if output in taken:
            return None
        source = items[min(self._rng.choice((0, 1, 1, 1, 2)), len(items) - 1)]
        parts = [(_amount(self._rng), source)]
        if self._common not in (source, output) and self._rng.random() < 0.4:
            parts.append((self._rng.choice((1, 1, 2, 4)), self._common))
        items.append(output)
        return Recipe(output, self._rng.choice((1, 1, 1, 2, 3, 4, 6)), tuple(parts))


def _amount(rng: random.Random) -> int:
    return rng.choice((1, 1, 2, 3, 4, 6, 8))


_DRAW: dict[str, Callable[[random.Random], Problem]] = {
    "alfworld": _alfworld,
    "babyai": _babyai,
    "maze": _maze,
    "textcraft": _textcraft,
    "webshop": _webshop,
    "wordle": _wordle,
}
