"""Games: a task type, a room, the things in it and the goal, all from a number.

Invariant: the same (task type, number) is the same game for ever; the rooms of eval games are never those of training games.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from envs.alfworld.simulator import OPENABLE, World, kind_of
from envs.alfworld.tables import Room, tables

SIMPLE, LIGHT, CLEAN, HEAT, COOL, TWO = TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
STATE = {CLEAN: "clean", HEAT: "hot", COOL: "cold"}
_ABLE = {CLEAN: "cleanable", HEAT: "heatable", COOL: "coolable"}
_DEVICE = {CLEAN: "sinkbasin", HEAT: "microwave", COOL: "fridge"}
_LAMPS = ("desklamp", "floorlamp")
_WORDS = {
    SIMPLE: ("put a {o} in {r}", "put some {o} on {r}"),
    LIGHT: ("look at {o} under the {r}", "examine the {o} with the {r}"),
    CLEAN: ("put a clean {o} in {r}", "clean some {o} and put it in {r}"),
    HEAT: ("put a hot {o} in {r}", "heat some {o} and put it in {r}"),
    COOL: ("put a cool {o} in {r}", "cool some {o} and put it in {r}"),
    TWO: ("put two {o} in {r}", "find two {o} and put them in {r}"),
}
_EVAL_EVERY = 5  # of the rooms of a kind, one is for eval alone


@dataclass(frozen=True, slots=True)
class Game:
    """`target`: the receptacle's kind, or the lamp's for a look in the light."""

    task_type: str
    room: str
    thing: str
    target: str
    goal: str
    contents: dict[str, tuple[str, ...]]

    def world(self) -> World:
        found = tables()
        return World({name: list(things) for name, things in self.contents.items()}, found.fits, found.able)

    def won(self, world: World) -> bool:
        if self.task_type == LIGHT:
            here = world.contents.get(world.place or "", [])
            lit = any(kind_of(thing) == self.target and "used" in world.states.get(thing, ()) for thing in here)
            return lit and world.held is not None and kind_of(world.held) == self.thing
        wanted = STATE.get(self.task_type)
        for name, things in world.contents.items():
            if kind_of(name) == self.target:
                right = [one for one in things if kind_of(one) == self.thing and (wanted is None or wanted in world.states.get(one, ()))]
                if len(right) >= (2 if self.task_type == TWO else 1):
                    return True
        return False


@lru_cache(maxsize=4096)
def game(task_type: str, number: int, held_out: bool) -> Game:
    """The game of a number; `held_out` games are in rooms of their own."""
    draw = random.Random(f"alfworld {task_type} {number} {'eval' if held_out else 'training'}")
    while True:
        room = draw.choice(_rooms(held_out))
        choices = _choices(task_type, room)
        if choices:
            thing, target = draw.choice(choices)
            words = draw.choice(_WORDS[task_type]).format(o=thing, r=target)
            contents = _furnish(draw, room, task_type, thing, target)
            if contents:
                return Game(task_type, room.name, thing, target, words, contents)


@lru_cache(maxsize=2)
def _rooms(held_out: bool) -> list[Room]:
    return [room for number, room in enumerate(tables().rooms) if (number % _EVAL_EVERY == _EVAL_EVERY - 1) == held_out]


@lru_cache(maxsize=None)
def _choices(task_type: str, room: Room) -> list[tuple[str, str]]:
    """The (object, target) pairs that a task type can have in a room."""
    found = tables()
    things = [thing for thing in room.objects if thing not in _LAMPS and _holders(room, thing)]
    if task_type == LIGHT:
        return [(thing, lamp) for thing in things for lamp in _LAMPS if lamp in room.objects and _holders(room, lamp)]
    if task_type in _ABLE:
        if _DEVICE[task_type] not in room.receptacles:
            return []
        things = [thing for thing in things if thing in found.able[_ABLE[task_type]]]
    avoid = _DEVICE.get(task_type)
    return [
        (thing, target)
        for thing in things
        for target in room.receptacles
        if thing in found.fits[target] and target != avoid and any(kind_of(other) != target for other in _holders(room, thing))
    ]


def _holders(room: Room, thing: str) -> list[str]:
    """The receptacles that take a kind of object. A lamp stands on furniture."""
    fits = tables().fits
    kinds = [name for name in room.receptacles if thing in fits[name]]
    if thing in _LAMPS:
        kinds = [name for name in room.receptacles if name in ("desk", "sidetable", "dresser", "shelf", "coffeetable", "diningtable")]
    return [f"{kind} {number}" for kind in kinds for number in range(1, room.receptacles[kind] + 1)]


def _furnish(draw: random.Random, room: Room, task_type: str, thing: str, target: str) -> dict[str, tuple[str, ...]] | None:
    receptacles = [f"{kind} {number}" for kind in sorted(room.receptacles) for number in range(room.receptacles[kind], 0, -1)]
    contents: dict[str, list[str]] = {name: [] for name in receptacles}
    for kind in room.objects:
        wanted = 1 if kind in _LAMPS else draw.choice([1, 1, 1, 2, 2, 3])
        holders = _holders(room, kind)
        if kind == thing:
            wanted = max(wanted, 2 if task_type == TWO else 1)
            holders = [name for name in holders if kind_of(name) != target]
        elif len(holders) > 3 and draw.random() < 0.35:
            continue  # not every room has everything
        if not holders:
            continue
        # Most things lie in the open.
        open_ones = [name for name in holders if kind_of(name) not in OPENABLE] or holders
        for number in range(1, wanted + 1):
            contents[draw.choice(open_ones if draw.random() < 0.6 else holders)].append(f"{kind} {number}")
    if task_type == LIGHT and not any(kind_of(one) == target for things in contents.values() for one in things):
        return None
    return {name: tuple(things) for name, things in contents.items()}
