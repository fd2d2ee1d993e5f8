"""The inventory and what a craft does to it.

Invariant: no count is 0; items are in the order in which they first came in.
"""

from __future__ import annotations

from collections.abc import Mapping

from envs.textcraft.recipes import Amount, Recipe

Inventory = dict[str, int]
"""item -> count"""


def missing_ingredients(inventory: Mapping[str, int], recipe: Recipe) -> list[Amount]:
    """The ingredients that the inventory has too few of for one craft, in the amounts that the recipe needs."""
    return [(count, item) for count, item in recipe.ingredients if inventory.get(item, 0) < count]


def craft(inventory: Inventory, recipe: Recipe) -> None:
    """Carry a recipe out in place. The ingredients must be there (see `missing_ingredients`)."""
    for count, item in recipe.ingredients:
        inventory[item] -= count
        if not inventory[item]:
            del inventory[item]
    inventory[recipe.output] = inventory.get(recipe.output, 0) + recipe.count
