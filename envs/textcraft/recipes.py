"""Recipes, and the recipe book built from them: one recipe per item, no cycles, a depth for every item.

Invariant: the book depends only on the list of recipes and its order, not on the order of sets, hashes or directories.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_ITEM = re.compile(r"[a-z0-9]+(?: [a-z0-9]+)*")
_AMOUNT = re.compile(r"([1-9][0-9]{0,3}) (.+)")
_CRAFT_COMMAND = re.compile(r"craft ([1-9][0-9]{0,3}) (.+?) using (.+)")

Amount = tuple[int, str]
"""(count, item), such as (6, "oak planks")"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """`count` of `output` from all of `ingredients`, which are in the order of the command."""

    output: str
    count: int
    ingredients: tuple[Amount, ...]

    def __post_init__(self) -> None:
        names = (self.output, *(item for _, item in self.ingredients))
        bad = [name for name in names if not _ITEM.fullmatch(name) or "using" in name.split()]
        if bad or not self.ingredients or len(set(names)) < len(names) or min(self.count, *(n for n, _ in self.ingredients)) < 1:
            raise ValueError(
                f"invalid recipe: {self!r}. Items are lower-case words and digits without 'using', each named once; counts are 1 or more"
            )

    def __str__(self) -> str:
        """The command for it: `craft 4 oak planks using 1 oak log`."""
        return f"craft {self.count} {self.output} using {', '.join(f'{n} {item}' for n, item in self.ingredients)}"

    @classmethod
    def parse(cls, command: str) -> Recipe:
        """The inverse of `str`. Raises ValueError on any other text."""
        match = _CRAFT_COMMAND.fullmatch(command)
        parts = [_AMOUNT.fullmatch(part.strip()) for part in match[3].split(",")] if match else [None]
        if match is None or None in parts:
            raise ValueError(f"not a crafting command: {command!r}; expected e.g. 'craft 4 oak planks using 1 oak log'")
        return cls(match[2], int(match[1]), tuple((int(part[1]), part[2]) for part in parts if part))

    def is_same_as(self, other: Recipe) -> bool:
        """Whether the two are equal but for the order of the ingredients."""
        return (self.output, self.count, sorted(self.ingredients)) == (other.output, other.count, sorted(other.ingredients))


class RecipeBook:
    """The recipes and goals of an environment, built from any list of recipes. A list may have several recipes for one item.

    Each item keeps its first recipe that closes no cycle with the recipes already kept. Items are processed from the least to the most used
    as an ingredient (then by name), so that the item of a cycle that stays raw is its most used one: iron ingots, not iron blocks.
    """

    def __init__(self, recipes: Iterable[Recipe], goals: Sequence[str] | None = None) -> None:
        """`goals`: the items to craft, in this order; by default every craftable item, sorted by (depth, name). Raises ValueError."""
        alternatives: dict[str, list[Recipe]] = {}
        for recipe in recipes:
            alternatives.setdefault(recipe.output, []).append(recipe)
        self.recipes = _without_cycles(alternatives)
        """The kept recipe of every craftable item, by its name, sorted by name."""
        self._used_in: dict[str, list[Recipe]] = {}
        for recipe in self.recipes.values():
            for item in dict.fromkeys(part for _, part in recipe.ingredients):
                self._used_in.setdefault(item, []).append(recipe)
        self._depths: dict[str, int] = {}
        self._needed: dict[str, tuple[Recipe, ...]] = {}
        requested = self.recipes if goals is None else goals
        if unknown := [goal for goal in requested if goal not in self.recipes]:
            raise ValueError(f"no recipe makes {', '.join(unknown)}; goals must be craftable items of the book")
        if not requested:
            raise ValueError("a recipe book needs a goal; give it a recipe whose ingredients do not need its output")
        self.goals = tuple(goals or sorted(self.recipes, key=lambda item: (self.depth(item), item)))

    def depth(self, item: str) -> int:
        """The crafting steps on the longest path from raw items to `item`: 0 for a raw item."""
        if item not in self._depths:
            recipe = self.recipes.get(item)
            self._depths[item] = 1 + max(self.depth(part) for _, part in recipe.ingredients) if recipe else 0
        return self._depths[item]

    def needed(self, goal: str) -> tuple[Recipe, ...]:
        """The recipes that lead to `goal`, each once, the goal's own first."""
        if goal not in self._needed:
            needed = {goal: self.recipes[goal]}
            queue = [goal]
            for item in queue:
                for _, ingredient in needed[item].ingredients:
                    if ingredient in self.recipes and ingredient not in needed:
                        needed[ingredient] = self.recipes[ingredient]
                        queue.append(ingredient)
            self._needed[goal] = tuple(needed.values())
        return self._needed[goal]

    def list_for(self, goal: str, salt: str, distractors: int) -> tuple[Recipe, ...]:
        """The list that a policy is given: the recipes needed and up to `distractors` others, first those that share an ingredient.

        The choice and the order follow from SHA-256 over `salt` and the command: the same on every machine.
        """
        needed = self.needed(goal)
        used = {item for recipe in needed for _, item in recipe.ingredients}
        made = {recipe.output for recipe in needed}

        def hash_key(recipe: Recipe) -> bytes:
            return hashlib.sha256(f"{salt}:{recipe}".encode()).digest()

        related = {recipe.output: recipe for item in used for recipe in self._used_in.get(item, ()) if recipe.output not in made}
        others = sorted(related.values(), key=hash_key)
        if len(others) < distractors:  # seldom; hashing every recipe of the book would take most of the time of a reset
            others += sorted((recipe for name, recipe in self.recipes.items() if name not in made and name not in related), key=hash_key)
        return tuple(sorted((*needed, *others[:distractors]), key=hash_key))


def _without_cycles(alternatives: dict[str, list[Recipe]]) -> dict[str, Recipe]:
    uses = Counter(item for recipes in alternatives.values() for recipe in recipes for _, item in recipe.ingredients)
    kept: dict[str, Recipe] = {}
    for output in sorted(alternatives, key=lambda item: (uses[item], item)):
        for recipe in alternatives[output]:
            if not _reaches(kept, recipe, output):
                kept[output] = recipe
                break
    return dict(sorted(kept.items()))


def _reaches(kept: dict[str, Recipe], recipe: Recipe, item: str) -> bool:
    """Whether crafting `recipe` with the kept ones can need `item`."""
    queue = [part for _, part in recipe.ingredients]
    seen = set(queue)
    for part in queue:
        if part == item:
            return True
        following = [deeper for _, deeper in kept[part].ingredients if deeper not in seen] if part in kept else []
        seen.update(following)
        queue.extend(following)
    return False
