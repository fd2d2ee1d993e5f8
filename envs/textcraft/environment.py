"""TextCraft: make one item out of raw materials by commands from a list.

Invariant: an episode follows from the list and the goal that its first observation shows; the recipe book is not asked again.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, ClassVar

import gymnasium

from envs.base import Expert, Instruction, Sizes, TextEnv, UnknownItem, split_off_eval
from envs.textcraft.expert import Planner
from envs.textcraft.minecraft import minecraft_book
from envs.textcraft.plan import Inventory, craft, lacking
from envs.textcraft.recipes import Recipe, RecipeBook

DISTRACTORS = 6

_ITEM_ID = re.compile(r"textcraft_(0|[1-9][0-9]{0,8})")
_GET = re.compile(r"get ([1-9][0-9]{0,3}) (.+)")
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9, ]")
_LONGEST_ECHO = 200


class TextCraft(TextEnv):
    """Crafting over Minecraft's recipes, after TextCraft (ADaPT, arXiv 2311.05772) as AgentGym serves it.

    Observation: the list of commands and the goal first, then what each action did. Actions: `craft 4 oak planks using 1 oak log` (a
    command of the list, its exact counts, ingredients in any order), `get 2 oak log` (what the list uses and does not make), `inventory`.
    Reward: 1 when the goal is made, which ends the episode; else 0. At most 20 rounds. Instructions: 544, one item each, of depth 1
    to 4 (crafting steps above raw items); 100 of them are eval, each depth in proportion.

    Where it differs from AgentGym's, and why:
    - Goals are numbered by (depth, name). There the number depends on the order in which a folder is listed, so `textcraft_31` is
      another problem on another disk.
    - One recipe per item, with named ingredients (oak planks) for tags (planks): minecraft_data has no tags, and a list that says
      all there is to know needs no knowledge of Minecraft.
    - At most 6 distractors, not 10, so that a whole episode fits a small model's context. They are drawn by a hash of the item id,
      not by a shared random state and the order of a set.
    - What may be got is told by the list, not by the whole book, and must be named there. Cycles (ingot, block) leave the most used
      item raw.
    - White wool is raw, and the five goals that take the most rounds are left out: thus 20 rounds suffice for every goal.
    - Items are named in words everywhere; there, feedback says `minecraft:oak_planks`. The goal is said with its count.
    """

    name: ClassVar[str] = "textcraft"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("textcraft",)
    sizes: ClassVar[Sizes] = Sizes(instructions=544, eval=100, agent_traj=300, agent_traj_l=374)
    max_rounds: ClassVar[int] = 20
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
        """`recipes` puts another world in Minecraft's place: its goals are then `textcraft_0`, `textcraft_1`, … in the book's order."""
        super().__init__(render_mode)
        self.book = recipes or _minecraft()
        self.goal = ""
        self.listed: dict[str, Recipe] = {}
        """The commands of the list by the item they make, in the list's order."""
        self.inventory: Inventory = {}
        self._raw: tuple[str, ...] = ()

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """As every environment's; where no item is named and the book is not Minecraft's, a goal of that book is drawn."""
        if self.book is not _minecraft() and (options or {}).get("item_id") is None:
            gymnasium.Env.reset(self, seed=seed)
            options = {**(options or {}), "item_id": f"textcraft_{int(self.np_random.integers(len(self.book.goals)))}"}
            seed = None
        return super().reset(seed=seed, options=options)

    def begin(self, item_id: str) -> str:
        found = _ITEM_ID.fullmatch(item_id)
        if found is None or int(found[1]) >= len(self.book.goals):
            raise UnknownItem(f"textcraft has no instruction {item_id!r}; there are textcraft_0 to textcraft_{len(self.book.goals) - 1}")
        self.goal = self.book.goals[int(found[1])]
        commands = self.book.commands(self.goal, item_id, DISTRACTORS)
        self.listed = {recipe.output: recipe for recipe in commands}
        ingredients = dict.fromkeys(item for recipe in commands for _, item in recipe.ingredients)
        self._raw = tuple(item for item in ingredients if item not in self.listed)
        self.inventory = {}
        lines = "\n".join(map(str, commands))
        return f"Crafting commands:\n{lines}\n\nGoal: {_goal_text(self.goal)}."

    def act(self, action: str) -> tuple[str, float, bool]:
        command = _clean(action)
        if command == "inventory":
            held = " ".join(f"[{item}] ({count})" for item, count in self.inventory.items())
            return f"Inventory: {held or 'you have nothing'}", 0.0, False
        if found := _GET.fullmatch(command):
            return self._get(int(found[1]), found[2]), 0.0, False
        try:
            wanted = Recipe.parse(command)
        except ValueError:
            return f"Could not execute {command[:_LONGEST_ECHO]}", 0.0, False
        return self._craft(wanted)

    def expert(self) -> Expert:
        return Planner(self)

    def available_actions(self) -> list[str]:
        """The crafts that the inventory allows, each raw item in the amounts that the list names, and `inventory`."""
        crafts = [str(recipe) for recipe in self.listed.values() if not lacking(self.inventory, recipe)]
        amounts = dict.fromkeys(amount for recipe in self.listed.values() for amount in recipe.ingredients)
        gets = [f"get {count} {item}" for count, item in amounts if item in self._raw]
        return [*crafts, *gets, "inventory"]

    @classmethod
    def parse_action(cls, text: str) -> str:
        """The base class's, then only letters, digits, commas and spaces, as AgentGym's client keeps."""
        return _NOT_ALLOWED.sub("", super().parse_action(text)).strip()

    def _get(self, count: int, item: str) -> str:
        if item in self.listed:
            return f"Could not find {item}: craft it"
        if item not in self._raw:
            return f"Could not find {item[:_LONGEST_ECHO]}"
        self.inventory[item] = self.inventory.get(item, 0) + count
        return f"Got {count} {item}"

    def _craft(self, wanted: Recipe) -> tuple[str, float, bool]:
        recipe = self.listed.get(wanted.output)
        if recipe is None or not recipe.same_as(wanted):
            return f"Could not execute {str(wanted)[:_LONGEST_ECHO]}: not in the list", 0.0, False
        if missing := lacking(self.inventory, recipe):
            needs = ", ".join(f"need {count} {item}, have {self.inventory.get(item, 0)}" for count, item in missing)
            return f"Could not find enough items to craft {recipe.count} {recipe.output}: {needs}", 0.0, False
        craft(self.inventory, recipe)
        done = recipe.output == self.goal
        return f"Crafted {recipe.count} {recipe.output}", float(done), done


def _clean(action: str) -> str:
    """One line of lower-case words, without what parse_action would have taken out."""
    return " ".join(_NOT_ALLOWED.sub(" ", action).lower().split())


def _goal_text(goal: str) -> str:
    return f"craft 1 {goal}"


def _minecraft() -> RecipeBook:
    return minecraft_book(TextCraft.sizes.instructions)


@lru_cache(maxsize=None)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    book = _minecraft()
    everything = [
        Instruction(f"textcraft_{index}", "textcraft", "textcraft", f"depth {book.depth(goal)}", _goal_text(goal))
        for index, goal in enumerate(book.goals)
    ]
    return split_off_eval(everything, TextCraft.sizes.eval, salt="textcraft eval")
