"""The scripted TextCraft expert: each thought goes from the goal down to the first missing item, in the words of the list.

Invariant: a thought follows from the goal, the list, the inventory in the last thought and the last observation; everything else is copied.
Example: `I have 8 oak planks. Goal oak sign: craft 3 oak sign using 6 oak planks, 1 stick. 6 oak planks: have 8. 1 stick: have 0,
craft 4 stick using 2 oak planks. 2 oak planks: have 8.` The last command named is the action, unless the thought ends with `get n`.
"""

from __future__ import annotations

from typing import Protocol

from envs.base import ExpertStuck
from envs.textcraft.inventory import Inventory
from envs.textcraft.planner import describe, next_step, requirement_chain
from envs.textcraft.recipes import Recipe


class Episode(Protocol):
    """What the expert reads of a live TextCraft episode."""

    goal: str
    listed_recipes: dict[str, Recipe]
    inventory: Inventory


class TextCraftExpert:
    """Wins with the fewest possible crafts; gets all that one command needs of a raw item at once.

    It reads the inventory of the episode and keeps none of its own, so it can take over an episode that another policy began.
    """

    def __init__(self, episode: Episode) -> None:
        self._episode = episode

    def act(self, observation: str) -> tuple[str, str]:
        """The next (thought, action). Raises ExpertStuck once the goal item is in the inventory."""
        episode = self._episode
        if episode.goal in episode.inventory:
            raise ExpertStuck(f"{episode.goal} is crafted already; reset the environment before you call the expert again")
        chain = requirement_chain(episode.listed_recipes, episode.inventory, episode.goal)
        step = next_step(chain)
        return describe(chain, episode.inventory), str(step) if isinstance(step, Recipe) else f"get {step[0]} {step[1]}"
