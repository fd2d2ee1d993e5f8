"""Minecraft 1.16.2's crafting recipes, read from the package `minecraft_data`, and the goals of TextCraft.

Invariant: recipes come in the order of Minecraft's own item numbers, so nothing depends on the order of files or dictionaries.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from envs.textcraft.planner import count_rounds
from envs.textcraft.recipes import Recipe, RecipeBook

_VERSION = Path("data", "data", "pc", "1.16.2")
# White wool comes from sheep too; crafting it from string would make every coloured banner take more than 20 rounds.
_KEPT_RAW = frozenset({"white wool"})


@lru_cache(maxsize=None)
def minecraft_book(goals: int) -> RecipeBook:
    """The recipe book with the `goals` goals that take the fewest rounds (then by name), in order of depth and name."""
    everything = RecipeBook(minecraft_recipes())
    shortest = sorted(everything.goals, key=lambda item: (count_rounds(everything, item), item))[:goals]
    return RecipeBook(everything.recipes.values(), sorted(shortest, key=lambda item: (everything.depth(item), item)))


def minecraft_recipes(kept_raw: Collection[str] = _KEPT_RAW) -> list[Recipe]:
    """All 1,197 crafting recipes (of 562 items, `kept_raw` left out).

    Several recipes for one item are in order of the number of their ingredients, then of the ingredients' item numbers: oak before spruce,
    coal before charcoal. Raises FileNotFoundError where the package or its data is missing.
    """
    names = {item["id"]: item["name"].replace("_", " ") for item in _read("items.json")}
    recipes: list[Recipe] = []
    for _, variants in sorted(_read("recipes.json").items(), key=lambda entry: int(entry[0])):
        ordered = sorted(((_ingredients(variant), variant["result"]) for variant in variants), key=lambda pair: (len(pair[0]), pair[0]))
        for ingredients, result in ordered:
            if names[result["id"]] not in kept_raw:
                recipes.append(Recipe(names[result["id"]], result["count"], tuple((count, names[item]) for item, count in ingredients)))
    return recipes


def _ingredients(variant: dict[str, Any]) -> list[tuple[int, int]]:
    """Sorted (item number, count) of a shaped recipe (rows of item numbers or null) or a shapeless one (a flat list)."""
    slots = variant["ingredients"] if "ingredients" in variant else [slot for row in variant["inShape"] for slot in row]
    return sorted(Counter(slot for slot in slots if slot is not None).items())


def _read(name: str) -> Any:
    # find_spec does not import the package, which would load more than is needed.
    spec = find_spec("minecraft_data")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("minecraft_data is not installed; TextCraft reads its recipes from it: pip install minecraft-data==3.20.0")
    path = Path(spec.origin).parent / _VERSION / name
    if not path.is_file():
        raise FileNotFoundError(f"minecraft_data has no {path}; TextCraft needs version 3.20.0: pip install minecraft-data==3.20.0")
    return json.loads(path.read_text(encoding="utf-8"))
