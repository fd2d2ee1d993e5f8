"""What to do next for a goal, and what a craft does to the things at hand: pure functions, no state.

Invariant: the next step depends only on the goal, the listed commands and the inventory, so a plan can be taken up from any state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from envs.textcraft.recipes import Amount, Recipe, RecipeBook

Inventory = dict[str, int]
"""How many of each item, none of them 0, in the order in which they were first had."""


@dataclass(frozen=True, slots=True)
class Link:
    """One look at one item on the way from the goal down: `need` of it are wanted and `have` are there.

    Where that is too few, `recipe` (None for a raw item) is what to follow, `times` times.
    """

    item: str
    need: int
    have: int
    recipe: Recipe | None
    times: int

    @property
    def missing(self) -> int:
        return max(0, self.need - self.have)


def chain(listed: Mapping[str, Recipe], inventory: Mapping[str, int], goal: str) -> list[Link]:
    """The way from the goal down to the step that can be done now: depth first, the first missing ingredient of each recipe.

    `listed` has a recipe by the name of its output. The last link that misses something tells the step, as `next_action` gives it.
    """
    links = [_link(listed, inventory, goal, 1)]
    current: Link | None = links[0]
    while current is not None and current.recipe is not None:
        recipe, times, current = current.recipe, current.times, None
        for count, item in recipe.ingredients:
            links.append(_link(listed, inventory, item, count * times))
            if links[-1].missing:
                current = links[-1]
                break
    return links


def next_action(links: list[Link]) -> Recipe | Amount:
    """The recipe to carry out or the (amount, raw item) to get, from a chain that begins with a goal not yet had."""
    last = [link for link in links if link.missing][-1]
    return last.recipe or (last.missing, last.item)


def craft(inventory: Inventory, recipe: Recipe) -> None:
    """Carry a recipe out in place. The ingredients must be there (see `lacking`)."""
    for count, item in recipe.ingredients:
        inventory[item] -= count
        if not inventory[item]:
            del inventory[item]
    inventory[recipe.output] = inventory.get(recipe.output, 0) + recipe.count


def lacking(inventory: Mapping[str, int], recipe: Recipe) -> list[Amount]:
    """The ingredients of which there are too few for one go, as the recipe wants them."""
    return [(count, item) for count, item in recipe.ingredients if inventory.get(item, 0) < count]


def rounds(book: RecipeBook, goal: str) -> int:
    """How many actions the plan takes from nothing to the goal."""
    listed = {recipe.output: recipe for recipe in book.needed(goal)}
    inventory: Inventory = {}
    count = 0
    while goal not in inventory:
        step = next_action(chain(listed, inventory, goal))
        if isinstance(step, Recipe):
            craft(inventory, step)
        else:
            inventory[step[1]] = inventory.get(step[1], 0) + step[0]
        count += 1
    return count


def _link(listed: Mapping[str, Recipe], inventory: Mapping[str, int], item: str, need: int) -> Link:
    have = inventory.get(item, 0)
    recipe = listed.get(item)
    return Link(item, need, have, recipe, -(-max(0, need - have) // recipe.count) if recipe else 0)
