"""Recipes and the book that makes a crafting world of them: one recipe per item, no cycles, a depth for every item.

Invariant: the book depends only on the order of the list it is built from; no set, hash or directory order enters.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_ITEM = re.compile(r"[a-z0-9]+(?: [a-z0-9]+)*")
_AMOUNT = re.compile(r"([1-9][0-9]{0,3}) (.+)")
_COMMAND = re.compile(r"craft ([1-9][0-9]{0,3}) (.+?) using (.+)")

Amount = tuple[int, str]
"""How many of which item: (6, "oak planks")."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """`count` pieces of `output` from all of `ingredients`, whose order is the order in which the command names them."""

    output: str
    count: int
    ingredients: tuple[Amount, ...]

    def __post_init__(self) -> None:
        names = (self.output, *(item for _, item in self.ingredients))
        bad = [name for name in names if not _ITEM.fullmatch(name) or "using" in name.split()]
        if bad or not self.ingredients or len(set(names)) < len(names) or min(self.count, *(n for n, _ in self.ingredients)) < 1:
            raise ValueError(
                f"no usable recipe: {self!r}. Names are lower-case words and digits without 'using', each named once; counts are 1 or more"
            )

    def __str__(self) -> str:
        """The command that carries it out: `craft 4 oak planks using 1 oak log`."""
        return f"craft {self.count} {self.output} using {', '.join(f'{n} {item}' for n, item in self.ingredients)}"

    @classmethod
    def parse(cls, command: str) -> Recipe:
        """The inverse of `str`. Raises ValueError on any other text."""
        found = _COMMAND.fullmatch(command)
        parts = [_AMOUNT.fullmatch(part.strip()) for part in found[3].split(",")] if found else [None]
        if found is None or None in parts:
            raise ValueError(f"not a crafting command: {command!r}; expected e.g. 'craft 4 oak planks using 1 oak log'")
        return cls(found[2], int(found[1]), tuple((int(part[1]), part[2]) for part in parts if part))

    def same_as(self, other: Recipe) -> bool:
        """Equal but for the order in which the ingredients are named."""
        return (self.output, self.count, sorted(self.ingredients)) == (other.output, other.count, sorted(other.ingredients))


class RecipeBook:
    """A crafting world. Build it from any list of recipes; alternatives for one output are tried in the order of the list.

    Each output keeps the first alternative that closes no cycle with the recipes already kept. Outputs are settled from the least to the
    most used as an ingredient (then by name), so that what stays raw in a cycle is its most used item: iron ingots, not iron blocks.
    """

    def __init__(self, recipes: Iterable[Recipe], goals: Sequence[str] | None = None) -> None:
        """`goals` limits what may be asked for, in the order given; without it every craftable item may, sorted by (depth, name)."""
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
        self._closures: dict[str, tuple[Recipe, ...]] = {}
        chosen = self.recipes if goals is None else goals
        if unknown := [goal for goal in chosen if goal not in self.recipes]:
            raise ValueError(f"no recipe makes {', '.join(unknown)}; goals must be craftable items of the book")
        if not chosen:
            raise ValueError("a recipe book needs a goal; give it a recipe whose ingredients do not need its output")
        self.goals = tuple(goals or sorted(self.recipes, key=lambda item: (self.depth(item), item)))

    def depth(self, item: str) -> int:
        """Crafting steps from raw items to `item` along the longest way: 0 for what no recipe makes."""
        if item not in self._depths:
            recipe = self.recipes.get(item)
            self._depths[item] = 1 + max(self.depth(part) for _, part in recipe.ingredients) if recipe else 0
        return self._depths[item]

    def needed(self, goal: str) -> tuple[Recipe, ...]:
        """The recipes that lead to `goal`, each once, the goal's own first."""
        if goal not in self._closures:
            found = {goal: self.recipes[goal]}
            queue = [goal]
            for item in queue:
                for _, part in found[item].ingredients:
                    if part in self.recipes and part not in found:
                        found[part] = self.recipes[part]
                        queue.append(part)
            self._closures[goal] = tuple(found.values())
        return self._closures[goal]

    def commands(self, goal: str, salt: str, distractors: int) -> tuple[Recipe, ...]:
        """What a player is shown: the recipes needed and up to `distractors` others, first those that use one of the same ingredients.

        Which ones, and the order of all, follow from SHA-256 over `salt` and the command: the same on every machine.
        """
        needed = self.needed(goal)
        used = {item for recipe in needed for _, item in recipe.ingredients}
        made = {recipe.output for recipe in needed}

        def chance(recipe: Recipe) -> bytes:
            return hashlib.sha256(f"{salt}:{recipe}".encode()).digest()

        near = {recipe.output: recipe for item in used for recipe in self._used_in.get(item, ()) if recipe.output not in made}
        others = sorted(near.values(), key=chance)
        if len(others) < distractors:  # most often there are enough: hashing all of the book is what a reset would take its time for
            others += sorted((recipe for name, recipe in self.recipes.items() if name not in made and name not in near), key=chance)
        return tuple(sorted((*needed, *others[:distractors]), key=chance))


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
