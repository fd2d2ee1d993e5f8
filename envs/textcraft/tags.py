"""Minecraft's recipes with generic ingredients, as AgentGym's TextCraft has them: `craft 1 chest using 8 planks`.

minecraft_data writes every combination of alternatives as a recipe of its own; here the combinations become one recipe again. Invariant:
the book depends on the recipes and their order alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from envs.textcraft.minecraft import minecraft_recipes
from envs.textcraft.recipes import Amount, Recipe

_WOODS = ("oak", "spruce", "birch", "jungle", "acacia", "dark oak")
_FUNGI = ("crimson", "warped")
_DYES = (
    *("orange", "magenta", "light blue", "yellow", "lime", "pink", "gray", "light gray"),
    *("cyan", "purple", "blue", "brown", "green", "red", "black"),
)
_TRUNKS = {wood: (f"{wood} log", f"{wood} wood", f"stripped {wood} log", f"stripped {wood} wood") for wood in _WOODS}
_STEMS = {fungus: (f"{fungus} stem", f"{fungus} hyphae", f"stripped {fungus} stem", f"stripped {fungus} hyphae") for fungus in _FUNGI}

TAGS: Mapping[str, tuple[str, ...]] = {
    "planks": tuple(f"{wood} planks" for wood in (*_WOODS, *_FUNGI)),
    "wool": tuple(f"{dye} wool" for dye in _DYES),
}
"""Generic ingredients, and the items that a craft may use for them. An inventory never holds the generic one.

As in AgentGym, white wool does not count as wool: its recipe there has no group.
"""
_ALTERNATIVES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("planks", TAGS["planks"]),
    ("wool", ("white wool", *TAGS["wool"])),
    ("logs", tuple(log for logs in (*_TRUNKS.values(), *_STEMS.values()) for log in logs)),
    *((f"{wood} logs", logs) for wood, logs in _TRUNKS.items()),
    *((f"{fungus} stems", stems) for fungus, stems in _STEMS.items()),
    ("wooden slabs", tuple(f"{wood} slab" for wood in (*_WOODS, *_FUNGI))),
    ("stone tool materials", ("cobblestone", "blackstone")),
    ("soul fire base blocks", ("soul sand", "soul soil")),
    ("coals", ("coal", "charcoal")),
    ("sand", ("sand", "red sand")),
    ("sandstone", ("sandstone", "chiseled sandstone", "cut sandstone")),
    ("red sandstone", ("red sandstone", "chiseled red sandstone", "cut red sandstone")),
    ("purpur block", ("purpur block", "purpur pillar")),
    ("quartz block", ("quartz block", "chiseled quartz block", "quartz pillar")),
)
"""The name that a recipe has for any one of these items. All but those of TAGS are raw items like others: `get 1 oak logs`."""
_OTHER_NAMES = {
    ("furnace", "stone tool materials"): "stone crafting materials",
    ("brewing stand", "stone tool materials"): "stone crafting materials",
    ("torch", "coals"): "coal",
    ("soul torch", "coals"): "coal",
    ("fire charge", "coals"): "coal",
}
"""What single recipes call them."""


@lru_cache(maxsize=None)
def tagged_recipes() -> tuple[Recipe, ...]:
    """All recipes, sorted by what they make; several may make the same item. No item can be needed to make itself.

    A block that is taken apart (9 coal from 1 coal block) is no recipe. Of the recipes that would close a cycle the later ones are left
    out: so nuggets are raw, and ingots are made of them.
    """
    by_output: dict[str, list[Recipe]] = {}
    for recipe in minecraft_recipes(kept_raw=()):
        by_output.setdefault(recipe.output, []).append(recipe)
    kept: dict[str, list[Recipe]] = {}
    for output in sorted(by_output):
        for recipe in _with_generic_ingredients(by_output[output]):
            takes_apart = len(recipe.ingredients) == 1 and recipe.ingredients[0][1].endswith(" block")
            if not takes_apart and output not in _needed_items(kept, recipe):
                kept.setdefault(output, []).append(recipe)
    return tuple(recipe for recipes in kept.values() for recipe in recipes)


def _with_generic_ingredients(recipes: Iterable[Recipe]) -> list[Recipe]:
    """The recipes of one item; those that differ only in alternatives become one, with the alternatives' name."""
    remaining = list(recipes)
    for name, items in _ALTERNATIVES:
        known = {(recipe.count, frozenset(recipe.ingredients)) for recipe in remaining}
        merged: dict[tuple[int, frozenset[Amount]], Recipe] = {}
        for recipe in remaining:
            item = next((item for _, item in recipe.ingredients if item in items), None)
            if item and all((recipe.count, frozenset(_replaced(recipe, item, other))) in known for other in items):
                recipe = replace(recipe, ingredients=_replaced(recipe, item, _OTHER_NAMES.get((recipe.output, name), name)))
            merged.setdefault((recipe.count, frozenset(recipe.ingredients)), recipe)
        remaining = list(merged.values())
    return remaining


def _replaced(recipe: Recipe, item: str, other: str) -> tuple[Amount, ...]:
    return tuple((count, other if part == item else part) for count, part in recipe.ingredients)


def _needed_items(kept: Mapping[str, Collection[Recipe]], recipe: Recipe) -> set[str]:
    """All items that can be needed for the recipe, through any of the kept recipes."""
    queue = [part for _, part in recipe.ingredients]
    seen = set(queue)
    for part in queue:
        makers = [maker for item in TAGS.get(part, (part,)) for maker in kept.get(item, ())]
        deeper = [*TAGS.get(part, ()), *(item for maker in makers for _, item in maker.ingredients)]
        queue += [item for item in dict.fromkeys(deeper) if item not in seen]
        seen.update(deeper)
    return seen
