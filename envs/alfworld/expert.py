"""The scripted expert: looks where things are likely to be, and remembers what it has seen.

Invariant: it acts on the goal and on what it has been told; it never looks into the world.
"""

from __future__ import annotations

import re
from collections.abc import Generator

from envs.alfworld.games import CLEAN, COOL, HEAT, LIGHT, TWO, Game
from envs.alfworld.simulator import OPENABLE, kind_of
from envs.alfworld.tables import tables
from envs.base import ExpertStuck

Move = tuple[str, str]
Steps = Generator[Move, str, None]
_NAMES = re.compile(r"\ban? ([a-z]+ \d+)")
_DEVICE = {CLEAN: ("clean", "sinkbasin"), HEAT: ("heat", "microwave"), COOL: ("cool", "fridge")}


class Householder:
    """One episode; `act` is given the last observation. Raises ExpertStuck when it has looked everywhere."""

    def __init__(self, game: Game) -> None:
        self._game = game
        self._where: dict[str, str] = {}
        """What has been seen, and where it lies."""
        self._known: set[str] = set()
        """The receptacles whose contents have been seen."""
        self._place = ""
        self._steps: Steps | None = None

    def act(self, observation: str) -> Move:
        try:
            if self._steps is None:
                self._receptacles = _NAMES.findall(observation.partition("Your task")[0])
                self._steps = self._play()
                return next(self._steps)
            return self._steps.send(observation)
        except StopIteration:
            raise ExpertStuck("everything is done and the game is not won") from None

    def _play(self) -> Steps:
        game = self._game
        if game.task_type == LIGHT:
            yield from self._fetch(game.thing, set())
            lamp = yield from self._find(game.target)
            yield from self._go(self._where[lamp], f"The {lamp} is at the {self._where[lamp]}.")
            yield f"I hold the {game.thing}, now I need light.", f"use {lamp}"
            return
        done: set[str] = set()
        target = ""
        for _ in range(2 if game.task_type == TWO else 1):
            thing = yield from self._fetch(game.thing, done)
            if game.task_type in _DEVICE:
                verb, device = _DEVICE[game.task_type]
                place = self._nearest(device)
                yield from self._go(place, f"To {verb} the {thing} I need the {device}.")
                yield f"Now I can {verb} it.", f"{verb} {thing} with {place}"
            target = target or self._nearest(game.target)
            yield from self._go(target, f"The {thing} belongs in the {kind_of(target)}.")
            if kind_of(target) in OPENABLE and target not in self._known:
                yield from self._open(target)
            yield f"I put the {thing} there.", f"move {thing} to {target}"
            done.add(thing)

    def _fetch(self, kind: str, done: set[str]) -> Generator[Move, str, str]:
        """Find an object of a kind that is not done yet, go there and take it."""
        thing = yield from self._find(kind, done)
        place = self._where.pop(thing)
        yield from self._go(place, f"I have seen the {thing} at the {place}.")
        observation = yield f"There is a {kind}, I take it.", f"take {thing} from {place}"
        del observation
        return thing

    def _find(self, kind: str, done: frozenset[str] | set[str] = frozenset()) -> Generator[Move, str, str]:
        while True:
            seen = sorted(
                (name for name in self._where if kind_of(name) == kind and name not in done),
                key=lambda name: self._where[name] != self._place,
            )
            if seen:
                return seen[0]
            left = [name for name in self._receptacles if name not in self._known]
            if not left:
                raise ExpertStuck(f"no {kind} anywhere")
            place = min(left, key=lambda name: self._likely(kind, name))
            yield from self._go(place, f"I look for a {kind}; the {place} may have it.")
            if place not in self._known:
                yield from self._open(place)

    def _likely(self, kind: str, receptacle: str) -> tuple[bool, bool, int, int]:
        """Places in the order in which to look: those that take such a thing, open ones first, then as numbered."""
        takes = kind in tables().fits.get(kind_of(receptacle), ()) or kind in ("desklamp", "floorlamp")
        number = int(receptacle.rpartition(" ")[2])
        return not takes, kind_of(receptacle) in OPENABLE, self._receptacles.index(f"{kind_of(receptacle)} 1"), number

    def _nearest(self, kind: str) -> str:
        names = [name for name in self._receptacles if kind_of(name) == kind]
        return self._place if self._place in names else min(names, key=lambda name: (name not in self._known, int(name.rpartition(" ")[2])))

    def _go(self, place: str, why: str) -> Steps:
        if place != self._place:
            observation = yield why, f"go to {place}"
            self._place = place
            self._see(place, observation)

    def _open(self, place: str) -> Steps:
        observation = yield f"The {place} is closed, I open it.", f"open {place}"
        self._see(place, observation)

    def _see(self, place: str, observation: str) -> None:
        if "is closed" in observation:
            return
        self._known.add(place)
        self._where |= dict.fromkeys(_NAMES.findall(observation.partition("you see")[2]), place)
