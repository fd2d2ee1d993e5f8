"""ALFWorld's rooms, which objects fit into which receptacles, and what can be done with which objects: the contents of rooms.json.

Invariant: rooms.json holds facts of the package `alfworld` (MIT, Copyright 2020 Mohit Shridhar and others), written by extract_rooms.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FILE = Path(__file__).with_name("rooms.json")


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """A room: its kind, how many of each receptacle it has, and the kinds of objects in it."""

    name: str
    kind: str
    receptacles: dict[str, int]
    objects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoomData:
    """All of rooms.json.

    `allowed_objects`: receptacle kind -> the kinds of objects that fit into it.
    `kinds_by_property`: heatable, coolable, cleanable, toggleable or sliceable -> the kinds of objects that are.
    """

    rooms: tuple[Room, ...]
    allowed_objects: dict[str, tuple[str, ...]]
    kinds_by_property: dict[str, tuple[str, ...]]


@lru_cache(maxsize=None)
def room_data() -> RoomData:
    data = json.loads(FILE.read_text(encoding="ascii"))
    rooms = tuple(Room(name, room["kind"], room["receptacles"], tuple(room["objects"])) for name, room in data["rooms"].items())
    return RoomData(rooms, *({name: tuple(kinds) for name, kinds in data[table].items()} for table in ("fits", "able")))
