"""The planner: the next step towards a goal, as pure functions.

Invariant: the next step depends only on the goal, the listed recipes and the inventory, so a plan can start from any state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from envs.textcraft.inventory import Inventory, craft
from envs.textcraft.recipes import Amount, Recipe, RecipeBook


@dataclass(frozen=True, slots=True)
class Requirement:
    """An item on the way from the goal down to raw items: `need` of it are needed, the inventory has `have`.

    Where that is too few, `recipe` must be crafted `times` times; it is None for a raw item.
    """

    item: str
    need: int
    have: int
    recipe: Recipe | None
    times: int

    @property
    def missing(self) -> int:
        return max(0, self.need - self.have)


def requirement_chain(recipes: Mapping[str, Recipe], inventory: Mapping[str, int], goal: str) -> list[Requirement]:
    """The requirements from the goal down to the step that can be taken now: depth first, the first missing ingredient of each recipe.

    `recipes` maps an item to the listed recipe that makes it. The last requirement with something missing is the step that `next_step`
    returns.
    """
    chain = [_requirement(recipes, inventory, goal, 1)]
    current: Requirement | None = chain[0]
    while current is not None and current.recipe is not None:
        recipe, times, current = current.recipe, current.times, None
        for count, item in recipe.ingredients:
            chain.append(_requirement(recipes, inventory, item, count * times))
            if chain[-1].missing:
                current = chain[-1]
                break
    return chain


def next_step(chain: list[Requirement]) -> Recipe | Amount:
    """The recipe to craft or the (amount, raw item) to get, from the chain of a goal that is not in the inventory yet."""
    last = [requirement for requirement in chain if requirement.missing][-1]
    return last.recipe or (last.missing, last.item)


def describe(chain: list[Requirement], inventory: Mapping[str, int]) -> str:
    """The inventory and the chain in words: `I have 1 oak log. Goal stick: craft 4 stick using 2 oak planks. 2 oak planks: have 0, ...`"""
    contents = ", ".join(f"{count} {item}" for item, count in inventory.items()) or "nothing"
    return " ".join([f"I have {contents}.", f"Goal {chain[0].item}: {_command(chain[0])}.", *map(ingredient_sentence, chain[1:])])


def count_rounds(book: RecipeBook, goal: str) -> int:
    """How many actions the plan takes from an empty inventory to the goal."""
    recipes = {recipe.output: recipe for recipe in book.needed(goal)}
    inventory: Inventory = {}
    rounds = 0
    while goal not in inventory:
        step = next_step(requirement_chain(recipes, inventory, goal))
        if isinstance(step, Recipe):
            craft(inventory, step)
        else:
            inventory[step[1]] = inventory.get(step[1], 0) + step[0]
        rounds += 1
    return rounds


def _requirement(recipes: Mapping[str, Recipe], inventory: Mapping[str, int], item: str, need: int) -> Requirement:
    have = inventory.get(item, 0)
    recipe = recipes.get(item)
    return Requirement(item, need, have, recipe, -(-max(0, need - have) // recipe.count) if recipe else 0)


def ingredient_sentence(ingredient: Requirement) -> str:
    """What is needed, what is there, and the command or amount that is missing: `2 oak planks: have 0, craft 4 oak planks using ...`."""
    needed = f"{ingredient.need} {ingredient.item}: have {ingredient.have}"
    if not ingredient.missing:
        return f"{needed}."
    if ingredient.recipe is None:
        return f"{needed}, get {ingredient.missing}."
    if ingredient.have:
        return f"{needed}, {ingredient.missing} more: {_command(ingredient)}."
    return f"{needed}, {_command(ingredient)}."


def _command(requirement: Requirement) -> str:
    return f"{requirement.recipe}" + (f", {requirement.times} times" if requirement.times > 1 else "")
