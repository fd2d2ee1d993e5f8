"""Games: a task type, a room, the objects in it and the goal, all generated from a number.

Invariant: the same (task type, number, held out) is always the same game; the rooms of eval games are never those of training games.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from envs.alfworld.rooms import Room, room_data
from envs.alfworld.simulator import OPENABLE, Household, kind_of

SIMPLE, LIGHT, CLEAN, HEAT, COOL, TWO = TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
REQUIRED_STATE = {CLEAN: "clean", HEAT: "hot", COOL: "cold"}
_REQUIRED_PROPERTY = {CLEAN: "cleanable", HEAT: "heatable", COOL: "coolable"}
_APPLIANCE = {CLEAN: "sinkbasin", HEAT: "microwave", COOL: "fridge"}
_LAMPS = ("desklamp", "floorlamp")
_LAMP_FURNITURE = ("desk", "sidetable", "dresser", "shelf", "coffeetable", "diningtable")
GOAL_TEMPLATES = {
    SIMPLE: ("put a {o} in {r}", "put some {o} on {r}"),
    LIGHT: ("look at {o} under the {r}", "examine the {o} with the {r}"),
    CLEAN: ("put a clean {o} in {r}", "clean some {o} and put it in {r}"),
    HEAT: ("put a hot {o} in {r}", "heat some {o} and put it in {r}"),
    COOL: ("put a cool {o} in {r}", "cool some {o} and put it in {r}"),
    TWO: ("put two {o} in {r}", "find two {o} and put them in {r}"),
}
_EVAL_ROOM_INTERVAL = 5  # every fifth room is for eval alone


@dataclass(frozen=True, slots=True)
class Game:
    """`target_kind` is the kind of the receptacle in the goal, or of the lamp for `look_at_obj_in_light`."""

    task_type: str
    room: str
    object_kind: str
    target_kind: str
    goal: str
    contents: dict[str, tuple[str, ...]]

    def new_household(self) -> Household:
        """The household at the start of the game."""
        data = room_data()
        contents = {receptacle: list(objects) for receptacle, objects in self.contents.items()}
        return Household(contents, data.allowed_objects, data.kinds_by_property)

    def is_won(self, household: Household) -> bool:
        if self.task_type == LIGHT:
            here = household.contents.get(household.location or "", [])
            lit = any(kind_of(name) == self.target_kind and "used" in household.states.get(name, ()) for name in here)
            return lit and household.held is not None and kind_of(household.held) == self.object_kind
        for receptacle, objects in household.contents.items():
            if kind_of(receptacle) == self.target_kind:
                matching = [name for name in objects if kind_of(name) == self.object_kind and self._has_required_state(household, name)]
                if len(matching) >= (2 if self.task_type == TWO else 1):
                    return True
        return False

    def progress(self, household: Household) -> float:
        """The share of the goal's steps that the household shows: to see the object, to hold it, to heat, cool or clean it, to place it.

        For two objects the steps of both count, and both go into one receptacle. For a light the last steps are to see the lamp with the
        object in hand, and to use it.
        """
        names = [name for name in (*household.all_objects(), household.held or "") if kind_of(name) == self.object_kind]
        if self.task_type == LIGHT:
            return (max(self._steps_done(household, name, None) for name in names) + self._sees_lamp_with_object(household)) / 4
        num_objects, num_steps = 2 if self.task_type == TWO else 1, 4 if self.task_type in REQUIRED_STATE else 3
        done = (
            sum(sorted((self._steps_done(household, name, target) for name in names), reverse=True)[:num_objects])
            for target in household.contents
            if kind_of(target) == self.target_kind
        )
        return max(done) / (num_objects * num_steps)

    def _steps_done(self, household: Household, name: str, target: str | None) -> int:
        """The steps that one object has behind it: the last of them counts those before it. `target`: the receptacle to place it in."""
        has_state = self._has_required_state(household, name)
        needs_state = self.task_type in REQUIRED_STATE
        if target is not None and has_state and name in household.contents[target]:
            return 4 if needs_state else 3
        if needs_state and has_state:
            return 3
        return 2 if name == household.held else int(name in household.visible_objects())

    def _sees_lamp_with_object(self, household: Household) -> bool:
        holds_object = household.held is not None and kind_of(household.held) == self.object_kind
        return holds_object and any(kind_of(name) == self.target_kind for name in household.visible_objects())

    def _has_required_state(self, household: Household, name: str) -> bool:
        state = REQUIRED_STATE.get(self.task_type)
        return state is None or state in household.states.get(name, ())


@lru_cache(maxsize=4096)
def generate_game(task_type: str, number: int, held_out: bool) -> Game:
    """The game with a number; `held_out` games are in rooms of their own."""
    rng = random.Random(f"alfworld {task_type} {number} {'eval' if held_out else 'training'}")
    while True:
        room = rng.choice(_rooms(held_out))
        pairs = _object_target_pairs(task_type, room)
        if pairs:
            object_kind, target_kind = rng.choice(pairs)
            goal = rng.choice(GOAL_TEMPLATES[task_type]).format(o=object_kind, r=target_kind)
            contents = _place_objects(rng, room, task_type, object_kind, target_kind)
            if contents:
                return Game(task_type, room.name, object_kind, target_kind, goal, contents)


@lru_cache(maxsize=2)
def _rooms(held_out: bool) -> list[Room]:
    return [room for index, room in enumerate(room_data().rooms) if (index % _EVAL_ROOM_INTERVAL == _EVAL_ROOM_INTERVAL - 1) == held_out]


@lru_cache(maxsize=None)
def _object_target_pairs(task_type: str, room: Room) -> list[tuple[str, str]]:
    """The (object kind, target kind) pairs that a task type can have in a room."""
    data = room_data()
    kinds = [kind for kind in room.objects if kind not in _LAMPS and _receptacles_for(room, kind)]
    if task_type == LIGHT:
        return [(kind, lamp) for kind in kinds for lamp in _LAMPS if lamp in room.objects and _receptacles_for(room, lamp)]
    if task_type in _REQUIRED_PROPERTY:
        if _APPLIANCE[task_type] not in room.receptacles:
            return []
        kinds = [kind for kind in kinds if kind in data.kinds_by_property[_REQUIRED_PROPERTY[task_type]]]
    appliance = _APPLIANCE.get(task_type)
    return [
        (kind, target)
        for kind in kinds
        for target in room.receptacles
        if kind in data.allowed_objects[target]
        and target != appliance
        and any(kind_of(receptacle) != target for receptacle in _receptacles_for(room, kind))
    ]


def _receptacles_for(room: Room, kind: str) -> list[str]:
    """The receptacles that take a kind of object. A lamp stands on furniture."""
    allowed_objects = room_data().allowed_objects
    receptacle_kinds = [name for name in room.receptacles if kind in allowed_objects[name]]
    if kind in _LAMPS:
        receptacle_kinds = [name for name in room.receptacles if name in _LAMP_FURNITURE]
    return [f"{name} {number}" for name in receptacle_kinds for number in range(1, room.receptacles[name] + 1)]


def _place_objects(rng: random.Random, room: Room, task_type: str, object_kind: str, target_kind: str) -> dict[str, tuple[str, ...]] | None:
    """Receptacle -> objects; None where the game needs a lamp and the room gets none."""
    names = [f"{kind} {number}" for kind in sorted(room.receptacles) for number in range(room.receptacles[kind], 0, -1)]
    contents: dict[str, list[str]] = {name: [] for name in names}
    for kind in room.objects:
        count = 1 if kind in _LAMPS else rng.choice([1, 1, 1, 2, 2, 3])
        receptacles = _receptacles_for(room, kind)
        if kind == object_kind:
            count = max(count, 2 if task_type == TWO else 1)
            receptacles = [name for name in receptacles if kind_of(name) != target_kind]
        elif len(receptacles) > 3 and rng.random() < 0.35:
            continue  # not every room has every kind of object
        if not receptacles:
            continue
        # Most objects are placed where they can be seen without opening anything.
        always_open = [name for name in receptacles if kind_of(name) not in OPENABLE] or receptacles
        for number in range(1, count + 1):
            contents[rng.choice(always_open if rng.random() < 0.6 else receptacles)].append(f"{kind} {number}")
    if task_type == LIGHT and not any(kind_of(name) == target_kind for objects in contents.values() for name in objects):
        return None
    return {receptacle: tuple(objects) for receptacle, objects in contents.items()}
