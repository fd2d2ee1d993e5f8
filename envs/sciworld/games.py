"""The games that ship: ScienceWorld's task variations with their recorded solutions, read from games.json (written by generate.py).

Invariant: a game's index is the number in its item id.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FILE = Path(__file__).with_name("games.json")
TASK_TYPES = (
    "boil", "change-the-state-of-matter-of", "chemistry-mix", "chemistry-mix-paint-secondary-color", "chemistry-mix-paint-tertiary-color",
    "find-animal", "find-living-thing", "find-non-living-thing", "find-plant", "freeze", "grow-fruit", "grow-plant",
    "identify-life-stages-1", "identify-life-stages-2", "inclined-plane-determine-angle", "inclined-plane-friction-named-surfaces",
    "inclined-plane-friction-unnamed-surfaces", "lifespan-longest-lived", "lifespan-longest-lived-then-shortest-lived",
    "lifespan-shortest-lived", "measure-melting-point-known-substance", "measure-melting-point-unknown-substance", "melt",
    "mendelian-genetics-known-plant", "mendelian-genetics-unknown-plant", "power-component",
    "power-component-renewable-vs-nonrenewable-energy", "test-conductivity", "test-conductivity-of-unknown-substances", "use-thermometer",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Game:
    """A variation of a task type. `gold_path` is ScienceWorld's own solution, as a sequence of actions."""

    task_type: str
    variation: int
    held_out: bool
    description: str
    gold_path: tuple[str, ...]


@lru_cache(maxsize=None)
def games() -> tuple[Game, ...]:
    data = json.loads(FILE.read_text(encoding="ascii"))
    return tuple(
        Game(TASK_TYPES[type_index], variation, bool(held_out), data["descriptions"][description_index], tuple(gold_path.split("|")))
        for type_index, variation, held_out, description_index, gold_path in data["games"]
    )
