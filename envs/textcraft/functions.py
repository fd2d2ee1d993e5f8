"""TextCraft's actions as functions."""

from __future__ import annotations

from envs.functions import Function, function

FUNCTIONS: tuple[Function, ...] = (
    function(
        "Craft by a command of the list; ingredients such as: 1 oak log, 2 stick.",
        "craft {count} {item} using {ingredients}",
        name="craft",
        count="integer",
    ),
    function("Take raw items.", "get {count} {item}", count="integer"),
    function("List your items.", "inventory"),
)
