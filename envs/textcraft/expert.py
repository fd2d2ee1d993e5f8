"""The scripted player: each thought is one walk from the goal down to the first thing missing, in the words of the list.

Invariant: a thought can be worked out from the goal, the list, the last thought's inventory and the last observation: everything
else is copied. Text: `I have 8 oak planks. Goal oak sign: craft 3 oak sign using 6 oak planks, 1 stick. 6 oak planks: have 8. 1 stick:
have 0, craft 4 stick using 2 oak planks. 2 oak planks: have 8.` The last command named is the action, unless the last words are `get n`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envs.base import ExpertStuck
from envs.textcraft.plan import Link, chain, next_action
from envs.textcraft.recipes import Recipe

if TYPE_CHECKING:
    from envs.textcraft.environment import TextCraft


class Planner:
    """Wins with the fewest crafts there can be; gets the whole of what one command needs of a raw item at once.

    Asks the environment for its inventory rather than keep one, so it can take over an episode that somebody else began.
    """

    def __init__(self, env: TextCraft) -> None:
        self._env = env

    def act(self, observation: str) -> tuple[str, str]:
        """The next (thought, action). Raises ExpertStuck once the goal has been made."""
        env = self._env
        if env.goal in env.inventory:
            raise ExpertStuck(f"{env.goal} has been made already; reset the environment before asking the expert again")
        links = chain(env.listed, env.inventory, env.goal)
        step = next_action(links)
        having = ", ".join(f"{count} {item}" for item, count in env.inventory.items()) or "nothing"
        thought = " ".join([f"I have {having}.", _top(links[0]), *map(_below, links[1:])])
        return thought, str(step) if isinstance(step, Recipe) else f"get {step[0]} {step[1]}"


def _top(link: Link) -> str:
    return f"Goal {link.item}: {_command(link)}."


def _below(link: Link) -> str:
    wanted = f"{link.need} {link.item}: have {link.have}"
    if not link.missing:
        return f"{wanted}."
    if link.recipe is None:
        return f"{wanted}, get {link.missing}."
    return f"{wanted}, {_command(link)}." if not link.have else f"{wanted}, {link.missing} more: {_command(link)}."


def _command(link: Link) -> str:
    return f"{link.recipe}" + (f", {link.times} times" if link.times > 1 else "")
