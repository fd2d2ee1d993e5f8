"""A recipe book with generic ingredients: several recipes for an item, and several items for a generic ingredient.

Invariant: everything follows from the recipes, the tags and their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from envs.textcraft.recipes import Amount, Recipe, RecipeBook


class TaggedRecipeBook:
    """`goals`: every craftable item, sorted by (depth, name). `raw_items`: those that no recipe makes. `plan`: one recipe for each item."""

    def __init__(self, recipes: Sequence[Recipe], tags: Mapping[str, Sequence[str]]) -> None:
        """`recipes` without cycles. `tags`: the items that may stand for each generic ingredient, the plan's choice first."""
        self.tags = tags
        self.recipes: dict[str, list[Recipe]] = {}
        for recipe in recipes:
            self.recipes.setdefault(recipe.output, []).append(recipe)
        self._used_in: dict[str, list[Recipe]] = {}
        for recipe in recipes:
            for _, item in recipe.ingredients:
                self._used_in.setdefault(item, []).append(recipe)
        self.raw_items = frozenset(self._used_in.keys() - self.recipes.keys() - tags.keys())
        self._depths: dict[str, int] = {}
        self.goals = tuple(sorted(self.recipes, key=lambda item: (self.depth(item), item)))
        self.plan = RecipeBook(self._shallowest(item) for item in self.recipes)

    def depth(self, item: str) -> int:
        """The crafting steps from raw items to the item, or to any item of a tag, on the shortest way; 0 for a raw item."""
        if item not in self._depths:
            if item in self.tags:
                self._depths[item] = min(map(self.depth, self.tags[item]))
            else:
                self._depths[item] = min((self._depth_of(recipe) for recipe in self.recipes.get(item, ())), default=0)
        return self._depths[item]

    def all_needed(self, goal: str) -> tuple[Recipe, ...]:
        """All recipes that can lead to the goal: every recipe of every item, and for a generic ingredient those of all its items."""
        needed = dict.fromkeys(self.recipes[goal])
        for recipe in (queue := list(needed)):
            for _, part in recipe.ingredients:
                new = [each for item in self.tags.get(part, (part,)) for each in self.recipes.get(item, ()) if each not in needed]
                needed |= dict.fromkeys(new)
                queue += new
        return tuple(needed)

    def related(self, recipes: Sequence[Recipe]) -> list[Recipe]:
        """The other recipes that use an ingredient of these."""
        used = dict.fromkeys(item for recipe in recipes for _, item in recipe.ingredients)
        related = dict.fromkeys(recipe for item in used for recipe in self._used_in[item])
        known = set(recipes)
        return [recipe for recipe in related if recipe not in known]

    def find(self, output: str, ingredients: Sequence[Amount]) -> Recipe | None:
        """The recipe for `output` that takes exactly these items, with them in the place of generic ingredients."""
        for recipe in self.recipes.get(output, ()):
            open_parts = list(recipe.ingredients)
            for count, item in ingredients:
                match = next((part for part in open_parts if part[0] == count and item in self.tags.get(part[1], (part[1],))), None)
                if match is None:
                    break
                open_parts.remove(match)
            else:
                if not open_parts:
                    return replace(recipe, ingredients=tuple(ingredients))
        return None

    def with_items(self, recipe: Recipe) -> Iterator[Recipe]:
        """The recipe with each of the items that may stand for its generic ingredient; as it is without one."""
        tag = next((part for _, part in recipe.ingredients if part in self.tags), None)
        for item in self.tags[tag] if tag else (None,):
            yield replace(recipe, ingredients=tuple((count, item if item and part == tag else part) for count, part in recipe.ingredients))

    def _depth_of(self, recipe: Recipe) -> int:
        return 1 + max(self.depth(part) for _, part in recipe.ingredients)

    def _shallowest(self, item: str) -> Recipe:
        recipe = min(self.recipes[item], key=self._depth_of)
        stand_ins = {tag: min(items, key=self.depth) for tag, items in self.tags.items()}
        return replace(recipe, ingredients=tuple((count, stand_ins.get(part, part)) for count, part in recipe.ingredients))
