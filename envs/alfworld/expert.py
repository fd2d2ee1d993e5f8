"""The scripted ALFWorld expert: it searches likely receptacles first and remembers the objects that it has seen.

Invariant: it acts on the goal and the observations alone; it never reads the household's state.
"""

from __future__ import annotations

import re
from collections.abc import Generator

from envs.alfworld.games import CLEAN, COOL, HEAT, LIGHT, TWO, Game
from envs.alfworld.rooms import room_data
from envs.alfworld.simulator import OPENABLE, kind_of
from envs.base import ExpertStuck

Decision = tuple[str, str]
"""(thought, action)"""
Steps = Generator[Decision, str, None]
"""Yields decisions and is sent the observation after each."""
_NAME = re.compile(r"\ban? ([a-z]+ \d+)")
_VERB_AND_APPLIANCE = {CLEAN: ("clean", "sinkbasin"), HEAT: ("heat", "microwave"), COOL: ("cool", "fridge")}


class ALFWorldExpert:
    """The expert of one episode. Raises ExpertStuck when it has searched every receptacle."""

    def __init__(self, game: Game) -> None:
        self._game = game
        self._receptacles: list[str] = []
        self._receptacle_of: dict[str, str] = {}
        """The receptacle of every object seen so far."""
        self._searched: set[str] = set()
        """The receptacles whose contents have been seen."""
        self._location = ""
        """The receptacle that the agent faces."""
        self._steps: Steps | None = None

    def act(self, observation: str) -> Decision:
        try:
            if self._steps is None:
                self._receptacles = _NAME.findall(observation.partition("Your task")[0])
                self._steps = self._play()
                return next(self._steps)
            return self._steps.send(observation)
        except StopIteration:
            raise ExpertStuck("every step is done and the game is not won") from None

    def _play(self) -> Steps:
        game = self._game
        if game.task_type == LIGHT:
            yield from self._fetch(game.object_kind, set())
            lamp = yield from self._find(game.target_kind)
            yield from self._go(self._receptacle_of[lamp], f"The {lamp} is at the {self._receptacle_of[lamp]}.")
            yield f"I hold the {game.object_kind}, now I need light.", f"use {lamp}"
            return
        placed: set[str] = set()
        target = ""
        for _ in range(2 if game.task_type == TWO else 1):
            name = yield from self._fetch(game.object_kind, placed)
            if game.task_type in _VERB_AND_APPLIANCE:
                verb, appliance_kind = _VERB_AND_APPLIANCE[game.task_type]
                appliance = self._nearest(appliance_kind)
                yield from self._go(appliance, f"To {verb} the {name} I need the {appliance_kind}.")
                yield f"Now I can {verb} it.", f"{verb} {name} with {appliance}"
            target = target or self._nearest(game.target_kind)
            yield from self._go(target, f"The {name} belongs in the {kind_of(target)}.")
            if kind_of(target) in OPENABLE and target not in self._searched:
                yield from self._open(target)
            yield f"I put the {name} there.", f"move {name} to {target}"
            placed.add(name)

    def _fetch(self, kind: str, placed: set[str]) -> Generator[Decision, str, str]:
        """Find an object of a kind that is not placed yet, go there and take it. Returns its name."""
        name = yield from self._find(kind, placed)
        receptacle = self._receptacle_of.pop(name)
        yield from self._go(receptacle, f"I have seen the {name} at the {receptacle}.")
        yield f"There is a {kind}, I take it.", f"take {name} from {receptacle}"
        return name

    def _find(self, kind: str, placed: frozenset[str] | set[str] = frozenset()) -> Generator[Decision, str, str]:
        """Search receptacles until an object of a kind that is not placed yet has been seen. Returns its name."""
        while True:
            seen = sorted(
                (name for name in self._receptacle_of if kind_of(name) == kind and name not in placed),
                key=lambda name: self._receptacle_of[name] != self._location,
            )
            if seen:
                return seen[0]
            unsearched = [name for name in self._receptacles if name not in self._searched]
            if not unsearched:
                raise ExpertStuck(f"no {kind} in any receptacle")
            receptacle = min(unsearched, key=lambda name: self._search_order(kind, name))
            yield from self._go(receptacle, f"I look for a {kind}; the {receptacle} may have it.")
            if receptacle not in self._searched:
                yield from self._open(receptacle)

    def _search_order(self, kind: str, receptacle: str) -> tuple[bool, bool, int, int]:
        """A sort key: receptacles that can hold such an object first, then those that need no opening, then by number."""
        can_hold = kind in room_data().allowed_objects.get(kind_of(receptacle), ()) or kind in ("desklamp", "floorlamp")
        number = int(receptacle.rpartition(" ")[2])
        return not can_hold, kind_of(receptacle) in OPENABLE, self._receptacles.index(f"{kind_of(receptacle)} 1"), number

    def _nearest(self, kind: str) -> str:
        """A receptacle of a kind: the one that the agent faces, else a searched one, else the one with the lowest number."""
        names = [name for name in self._receptacles if kind_of(name) == kind]
        if self._location in names:
            return self._location
        return min(names, key=lambda name: (name not in self._searched, int(name.rpartition(" ")[2])))

    def _go(self, receptacle: str, thought: str) -> Steps:
        if receptacle != self._location:
            observation = yield thought, f"go to {receptacle}"
            self._location = receptacle
            self._remember_contents(receptacle, observation)

    def _open(self, receptacle: str) -> Steps:
        observation = yield f"The {receptacle} is closed, I open it.", f"open {receptacle}"
        self._remember_contents(receptacle, observation)

    def _remember_contents(self, receptacle: str, observation: str) -> None:
        if "is closed" in observation:
            return
        self._searched.add(receptacle)
        self._receptacle_of |= dict.fromkeys(_NAME.findall(observation.partition("you see")[2]), receptacle)
