"""TextCraft in AgentGym's original setting: generic ingredients, longer lists, AgentGym's wording.

Invariant: an episode follows from the goal and the recipes of `tags.tagged_recipes`; the list in the first observation is a part of them.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import ClassVar

from envs.base import Expert, Instruction, Sizes, TextEnv, UnknownItem, split_off_eval
from envs.functions import Function
from envs.textcraft.environment import NOT_ALLOWED
from envs.textcraft.expert import TextCraftExpert
from envs.textcraft.functions import FUNCTIONS
from envs.textcraft.inventory import Inventory, craft, missing_ingredients
from envs.textcraft.recipes import Recipe
from envs.textcraft.tagged_book import TaggedRecipeBook
from envs.textcraft.tags import TAGS, tagged_recipes

DISTRACTORS = 10

_NAME = "textcraft-original"
_ITEM_ID = re.compile(rf"{_NAME}_(0|[1-9][0-9]{{0,8}})")
_GET = re.compile(r"get ([0-9]{1,4}) (.+)")
_CRAFT = re.compile(r"craft (?:[0-9]{1,4} )?(.+?) using (.+)")
_AMOUNT = re.compile(r"([1-9][0-9]{0,3}) (.+)")
_LONGEST_ECHO = 200


class OriginalTextCraft(TextEnv):
    """TextCraft (ADaPT, arXiv 2311.05772) in AgentGym's setting; `textcraft` is this project's own setting, with shorter episodes.

    Observation: first the list of commands and the goal, then the result of each action. Actions: `craft 4 oak planks using 1 oak logs`
    (any recipe with its exact counts; where a command says `planks` or `wool`, an item of that kind), `get 2 oak logs` (an item that
    nothing makes), `inventory`. Reward: 1 for crafting the goal, which ends the episode; else 0. At most 50 rounds. Instructions: 544, one
    goal item each, of depth 1 to 4; 100 of them are eval, each depth in proportion.

    As in AgentGym: its 544 goals and their recipes, generic ingredients, iron and gold ingots of nuggets, wool of string, at most 10
    distractors, 13 commands in a list on average and up to 72, the wording of the feedback, recipes that are not in the list but exist.

    Differences from AgentGym's TextCraft, and why:
    - Goals are numbered by (depth, name), and distractors are drawn by a hash. In AgentGym both depend on the order in which a folder is
      listed.
    - Where recipes make each other (ingot, nugget) the first by name is kept; in AgentGym the first in the folder's order.
    - Ingredients are in the order of Minecraft's item numbers, not of its recipe files.
    - 50 rounds, so that every goal can be won (the expert needs up to 48); AgentGym's scripts have 20, AgentGym-RL's 30.
    - A craft without a recipe is answered with the item's name, not with the text of a Python object.
    """

    name: ClassVar[str] = _NAME
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("textcraft",)
    sizes: ClassVar[Sizes] = Sizes(instructions=544, eval=100, agent_traj=300, agent_traj_l=374)
    max_rounds: ClassVar[int] = 50
    functions: ClassVar[tuple[Function, ...]] = FUNCTIONS
    prompt: ClassVar[str] = (
        "Craft the goal item of Minecraft. You are given a list of crafting commands; some are of no use. Actions:\n"
        "craft 4 oak planks using 1 oak logs (a command of the list, always with its counts)\n"
        "get 2 oak logs (any amount of an item that cannot be crafted)\n"
        "inventory\n"
        'For a generic ingredient such as "planks", name one of its kind that you have, such as "oak planks".\n'
        "Answer with one thought and one action each turn:\n"
        "Thought: ...\n"
        "Action: ..."
    )

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.book = _book()
        self.goal = ""
        self.commands: tuple[Recipe, ...] = ()
        """The list of the first observation."""
        self.listed_recipes: dict[str, Recipe] = {}
        """What the expert crafts, by item: one recipe each, with an item in the place of a generic ingredient."""
        self.inventory: Inventory = {}

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    def begin(self, item_id: str) -> str:
        match = _ITEM_ID.fullmatch(item_id)
        if match is None or int(match[1]) >= len(self.book.goals):
            raise UnknownItem(f"{_NAME} has no instruction {item_id!r}; there are {_NAME}_0 to {_NAME}_{len(self.book.goals) - 1}")
        self.goal = self.book.goals[int(match[1])]
        needed = self.book.all_needed(self.goal)

        def hash_key(recipe: Recipe) -> bytes:
            return hashlib.sha256(f"{item_id}:{recipe}".encode()).digest()

        distractors = sorted(self.book.related(needed), key=hash_key)[:DISTRACTORS]
        self.commands = tuple(sorted((*needed, *distractors), key=hash_key))
        self.listed_recipes = {recipe.output: recipe for recipe in self.book.plan.needed(self.goal)}
        self.inventory = {}
        lines = "\n".join(map(str, self.commands))
        return f"Crafting commands:\n{lines}\n\nGoal: {_goal_text(self.goal)}."

    def act(self, action: str) -> tuple[str, float, bool]:
        command = " ".join(NOT_ALLOWED.sub(" ", action).lower().split())
        if command == "inventory":
            contents = " ".join(f"[{item}] ({count})" for item, count in self.inventory.items())
            return f"Inventory: {contents or 'You are not carrying anything.'}", 0.0, False
        if match := _GET.fullmatch(command):
            return self._get(int(match[1]), match[2]), 0.0, False
        if match := _CRAFT.fullmatch(command):
            return self._craft(match[1], match[2])
        return f"Could not execute {command[:_LONGEST_ECHO]}", 0.0, False

    def expert(self) -> Expert:
        return TextCraftExpert(self)

    def available_actions(self) -> list[str]:
        """The crafts of the list that the inventory allows, each raw item in the amounts that the list uses, and `inventory`."""
        possible = (each for recipe in self.commands for each in self.book.with_items(recipe))
        crafts = [str(recipe) for recipe in possible if not missing_ingredients(self.inventory, recipe)]
        amounts = dict.fromkeys(amount for recipe in self.commands for amount in recipe.ingredients)
        gets = [f"get {count} {item}" for count, item in amounts if item in self.book.raw_items]
        return [*crafts, *gets, "inventory"]

    @classmethod
    def parse_action(cls, text: str) -> str:
        """As in the base class; then only letters, digits, commas and spaces are kept, as in AgentGym's client."""
        return NOT_ALLOWED.sub("", super().parse_action(text)).strip()

    def _get(self, count: int, item: str) -> str:
        if item not in self.book.raw_items or not count:
            return f"Could not find {item[:_LONGEST_ECHO]}"
        self.inventory[item] = self.inventory.get(item, 0) + count
        return f"Got {count} {item}"

    def _craft(self, output: str, ingredients: str) -> tuple[str, float, bool]:
        """The number of the item that is made is that of the recipe, whatever the action says."""
        parts = [part.strip() for part in ingredients.split(",")]
        amounts = [_AMOUNT.fullmatch(part) for part in parts]
        requested: list[tuple[int, str]] = []
        for part, amount in zip(parts, amounts, strict=True):
            if amount is None:
                return f"Wrong item format: {part[:_LONGEST_ECHO]}", 0.0, False
            requested.append((int(amount[1]), amount[2]))
        if any(self.inventory.get(item, 0) < count for count, item in requested):
            return f"Could not find enough items to craft {_with_namespace(output)}", 0.0, False
        recipe = self.book.find(output, requested)
        if recipe is None:
            return f"Could not find a valid recipe for {output[:_LONGEST_ECHO]}", 0.0, False
        craft(self.inventory, recipe)
        done = output == self.goal
        return f"Crafted {recipe.count} {_with_namespace(output)}", float(done), done


def _with_namespace(item: str) -> str:
    """As Minecraft's files write it: minecraft:oak_planks."""
    return f"minecraft:{item[:_LONGEST_ECHO].replace(' ', '_')}"


def _goal_text(goal: str) -> str:
    return f"craft {goal}"


@lru_cache(maxsize=None)
def _book() -> TaggedRecipeBook:
    return TaggedRecipeBook(tagged_recipes(), TAGS)


@lru_cache(maxsize=None)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    book = _book()
    items = [
        Instruction(f"{_NAME}_{index}", _NAME, "textcraft", f"depth {book.depth(goal)}", _goal_text(goal))
        for index, goal in enumerate(book.goals)
    ]
    return split_off_eval(items, OriginalTextCraft.sizes.eval, salt=f"{_NAME} eval")
