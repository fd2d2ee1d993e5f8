"""TextCraft: craft a goal item from raw items by the commands of a list.

Invariant: an episode follows from the list and the goal in its first observation; the recipe book is read at the reset alone.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Any, ClassVar

import gymnasium

from envs.base import Expert, Instruction, Sizes, TextEnv, UnknownItem, split_off_eval
from envs.functions import Function
from envs.textcraft.expert import TextCraftExpert
from envs.textcraft.functions import FUNCTIONS
from envs.textcraft.inventory import Inventory, craft, missing_ingredients
from envs.textcraft.minecraft import minecraft_book
from envs.textcraft.recipes import Recipe, RecipeBook

DISTRACTORS = 6

_ITEM_ID = re.compile(r"textcraft_(0|[1-9][0-9]{0,8})")
_GET = re.compile(r"get ([1-9][0-9]{0,3}) (.+)")
NOT_ALLOWED = re.compile(r"[^A-Za-z0-9, ]")
_LONGEST_ECHO = 200


class TextCraft(TextEnv):
    """Crafting over Minecraft's recipes, after TextCraft (ADaPT, arXiv 2311.05772) as AgentGym serves it.

    Observation: first the list of commands and the goal, then the result of each action. Actions: `craft 4 oak planks using 1 oak log` (a
    command of the list with its exact counts, ingredients in any order), `get 2 oak log` (an item that the list uses and does not make),
    `inventory`. Reward: 1 for crafting the goal, which ends the episode; else 0. Progress: the share of the needed items that are made or
    got. At most 20 rounds. Instructions: 544, one goal item each, of depth 1 to 4 (crafting steps above raw items); 100 of them are eval,
    each depth in proportion.

    Differences from AgentGym's TextCraft, and why:
    - Goals are numbered by (depth, name). In AgentGym the number depends on the order in which a folder is listed, so `textcraft_31` can be
      another goal on another disk.
    - One recipe per item, with named ingredients (oak planks) instead of tags (planks): minecraft_data has no tags, and the list is
      complete, so that no knowledge of Minecraft is needed.
    - At most 6 distractors, not 10, so that a whole episode fits a small model's context. They are drawn by a hash of the item id,
      not by a shared random state and the order of a set.
    - `get` gives an item if the list, not the whole book, uses it and does not make it. Cycles (ingot, block) leave the most used item
      raw.
    - White wool is raw, and the five goals that take the most rounds are left out, so that 20 rounds suffice for every goal.
    - 533 of the 544 goals exist in both. The expert's actions, replayed on AgentGym's server by goal, solve 269 of them: a list has 8
      commands on average, AgentGym's 12; wool and ingots are raw here and crafted in AgentGym. `textcraft-original` has its setting.
    - Items are written in words everywhere; in AgentGym, feedback has `minecraft:oak_planks`. The goal has its count.
    """

    name: ClassVar[str] = "textcraft"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("textcraft",)
    sizes: ClassVar[Sizes] = Sizes(instructions=544, eval=100, agent_traj=300, agent_traj_l=374)
    max_rounds: ClassVar[int] = 20
    functions: ClassVar[tuple[Function, ...]] = FUNCTIONS
    prompt: ClassVar[str] = (
        "Make the goal item. You are given a list of crafting commands. Actions:\n"
        "craft 4 oak planks using 1 oak log (a command of the list, exactly as it stands)\n"
        "get 2 oak log (any amount of an item that no command in the list makes)\n"
        "inventory\n"
        "Answer with one thought and one action each turn:\n"
        "Thought: ...\n"
        "Action: ..."
    )

    def __init__(self, recipes: RecipeBook | None = None, render_mode: str | None = None) -> None:
        """`recipes` replaces Minecraft's: its goals are then `textcraft_0`, `textcraft_1`, … in the book's order."""
        super().__init__(render_mode)
        self.book = recipes or _minecraft()
        self.goal = ""
        self.listed_recipes: dict[str, Recipe] = {}
        """The recipes of the list by the item that they make, in the list's order."""
        self.inventory: Inventory = {}
        self._raw_items: tuple[str, ...] = ()
        self._recipe_tree: tuple[str, ...] = ()
        """The goal and all items that lead to it, each before its ingredients."""
        self._missing_at_start: dict[str, int] = {}

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """As in every environment; without an item id and with another book than Minecraft's, a goal of that book is drawn."""
        if self.book is not _minecraft() and (options or {}).get("item_id") is None:
            gymnasium.Env.reset(self, seed=seed)
            options = {**(options or {}), "item_id": f"textcraft_{int(self.np_random.integers(len(self.book.goals)))}"}
            seed = None
        return super().reset(seed=seed, options=options)

    def begin(self, item_id: str) -> str:
        match = _ITEM_ID.fullmatch(item_id)
        if match is None or int(match[1]) >= len(self.book.goals):
            raise UnknownItem(f"textcraft has no instruction {item_id!r}; there are textcraft_0 to textcraft_{len(self.book.goals) - 1}")
        self.goal = self.book.goals[int(match[1])]
        recipes = self.book.list_for(self.goal, item_id, DISTRACTORS)
        self.listed_recipes = {recipe.output: recipe for recipe in recipes}
        ingredients = dict.fromkeys(item for recipe in recipes for _, item in recipe.ingredients)
        self._raw_items = tuple(item for item in ingredients if item not in self.listed_recipes)
        self.inventory = {}
        items = {self.goal, *(item for recipe in self.book.needed(self.goal) for _, item in recipe.ingredients)}
        self._recipe_tree = tuple(sorted(items, key=lambda item: (-self.book.depth(item), item)))
        self._missing_at_start = self._missing_items()
        lines = "\n".join(map(str, recipes))
        return f"Crafting commands:\n{lines}\n\nGoal: {_goal_text(self.goal)}."

    def act(self, action: str) -> tuple[str, float, bool]:
        command = _normalize(action)
        if command == "inventory":
            contents = " ".join(f"[{item}] ({count})" for item, count in self.inventory.items())
            return f"Inventory: {contents or 'you have nothing'}", 0.0, False
        if match := _GET.fullmatch(command):
            return self._get(int(match[1]), match[2]), 0.0, False
        try:
            requested = Recipe.parse(command)
        except ValueError:
            return f"Could not execute {command[:_LONGEST_ECHO]}", 0.0, False
        return self._craft(requested)

    def expert(self) -> Expert:
        return TextCraftExpert(self)

    def measure_progress(self) -> float:
        """The share of the items on the recipe tree that the inventory has or does not need any more, each item with the same weight."""
        missing = self._missing_items()
        return 1 - sum(missing[item] / count for item, count in self._missing_at_start.items()) / len(missing)

    def _missing_items(self) -> dict[str, int]:
        """How many of each item on the recipe tree are still to be made or got: 0 of those that nothing missing needs."""
        needed = Counter({self.goal: 1})
        missing: dict[str, int] = {}
        for item in self._recipe_tree:
            missing[item] = max(0, needed[item] - self.inventory.get(item, 0))
            recipe = self.listed_recipes.get(item)
            if recipe is not None:
                crafts = -(-missing[item] // recipe.count)
                needed.update({ingredient: crafts * count for count, ingredient in recipe.ingredients})
        return missing

    def available_actions(self) -> list[str]:
        """The crafts that the inventory allows, each raw item in the amounts that the list uses, and `inventory`."""
        crafts = [str(recipe) for recipe in self.listed_recipes.values() if not missing_ingredients(self.inventory, recipe)]
        amounts = dict.fromkeys(amount for recipe in self.listed_recipes.values() for amount in recipe.ingredients)
        gets = [f"get {count} {item}" for count, item in amounts if item in self._raw_items]
        return [*crafts, *gets, "inventory"]

    @classmethod
    def parse_action(cls, text: str) -> str:
        """As in the base class; then only letters, digits, commas and spaces are kept, as in AgentGym's client."""
        return NOT_ALLOWED.sub("", super().parse_action(text)).strip()

    def _get(self, count: int, item: str) -> str:
        if item in self.listed_recipes:
            return f"Could not find {item}: craft it"
        if item not in self._raw_items:
            return f"Could not find {item[:_LONGEST_ECHO]}"
        self.inventory[item] = self.inventory.get(item, 0) + count
        return f"Got {count} {item}"

    def _craft(self, requested: Recipe) -> tuple[str, float, bool]:
        recipe = self.listed_recipes.get(requested.output)
        if recipe is None or not recipe.is_same_as(requested):
            return f"Could not execute {str(requested)[:_LONGEST_ECHO]}: not in the list", 0.0, False
        if missing := missing_ingredients(self.inventory, recipe):
            needs = ", ".join(f"need {count} {item}, have {self.inventory.get(item, 0)}" for count, item in missing)
            return f"Could not find enough items to craft {recipe.count} {recipe.output}: {needs}", 0.0, False
        craft(self.inventory, recipe)
        done = recipe.output == self.goal
        return f"Crafted {recipe.count} {recipe.output}", float(done), done


def _normalize(action: str) -> str:
    """One line of lower-case words, without the characters that `parse_action` removes."""
    return " ".join(NOT_ALLOWED.sub(" ", action).lower().split())


def _goal_text(goal: str) -> str:
    return f"craft 1 {goal}"


def _minecraft() -> RecipeBook:
    return minecraft_book(TextCraft.sizes.instructions)


@lru_cache(maxsize=None)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    book = _minecraft()
    items = [
        Instruction(f"textcraft_{index}", "textcraft", "textcraft", f"depth {book.depth(goal)}", _goal_text(goal))
        for index, goal in enumerate(book.goals)
    ]
    return split_off_eval(items, TextCraft.sizes.eval, salt="textcraft eval")
