"""The rooms and what fits where, extracted from the wheel of `alfworld` (MIT, Copyright 2020 Mohit Shridhar and others):
`python -m envs.alfworld.tables FOLDER`, where FOLDER holds the unpacked wheel.

Facts alone are taken over, into rooms.json: which room has which receptacles and kinds of objects, what fits into what, what can be heated.
The wheel itself is no dependency, since it needs packages under the GPL.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("rooms.json")
KINDS = {"kitchen": range(1, 31), "living room": range(201, 231), "bedroom": range(301, 331), "bathroom": range(401, 431)}
_BASIN = {"Sink": "SinkBasin", "Bathtub": "BathtubBasin"}
_FIXED = {"StoveBurner": 4, "CoffeeMachine": 1, "Toaster": 1, "TowelHolder": 1, "HandTowelHolder": 1, "ToiletPaperHanger": 1}
_MOVABLE = {"Bowl", "Box", "Cup", "Mug", "Plate", "Pan", "Pot"}


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """A room by its kind, how many of each receptacle it has, and the kinds of objects that it has."""

    name: str
    kind: str
    receptacles: dict[str, int]
    objects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tables:
    """`fits`: receptacle to the objects that it takes; `able`: heatable, coolable, cleanable, toggleable, sliceable to what is."""

    rooms: tuple[Room, ...]
    fits: dict[str, tuple[str, ...]]
    able: dict[str, tuple[str, ...]]


@lru_cache(maxsize=None)
def tables() -> Tables:
    found = json.loads(FILE.read_text(encoding="ascii"))
    rooms = tuple(Room(name, room["kind"], room["receptacles"], tuple(room["objects"])) for name, room in found["rooms"].items())
    return Tables(rooms, *({name: tuple(values) for name, values in found[part].items()} for part in ("fits", "able")))


def extract(folder: Path) -> dict[str, Any]:
    """The tables, from the files of the wheel."""
    source = (folder / "alfworld" / "gen" / "constants.py").read_text(encoding="utf-8")
    inside = {name.lower(): values for name, values in _literal(source, "VAL_RECEPTACLE_OBJECTS").items()}
    inside |= dict.fromkeys(("diningtable", "coffeetable", "sidetable"), inside["tabletop"])
    actions = _literal(source, "VAL_ACTION_OBJECTS")
    kinds = {number: kind for kind, numbers in KINDS.items() for number in numbers}
    rooms = {}
    for number, kind in kinds.items():
        layout = folder / "alfworld" / "gen" / "layouts" / f"FloorPlan{number}"
        listed = json.loads(Path(f"{layout}-openable.json").read_text(encoding="utf-8"))
        present = json.loads(Path(f"{layout}-objects.json").read_text(encoding="utf-8"))
        counted = Counter(_BASIN.get(name.partition("|")[0], name.partition("|")[0]) for name in listed)
        counted |= Counter({name: count for name, count in _FIXED.items() if name in present and name not in counted})
        receptacles = {name.lower(): count for name, count in sorted(counted.items()) if name.lower() in inside}
        holdable = {one.lower() for name in receptacles for one in inside[name]} | {name.lower() for name in ("DeskLamp", "FloorLamp")}
        rooms[f"FloorPlan{number}"] = {
            "kind": kind,
            "receptacles": receptacles,
            "objects": sorted(name.lower() for name in present if name.lower() in holdable and name.lower() not in receptacles),
        }
    used = sorted({name for room in rooms.values() for name in room["receptacles"]})
    return {
        "rooms": rooms,
        "fits": {name: sorted(one.lower() for one in inside[name] if "Sliced" not in one) for name in used},
        "able": {
            name.lower(): sorted(one.lower() for one in actions[name] if "Sliced" not in one)
            for name in ("Heatable", "Coolable", "Cleanable", "Toggleable", "Sliceable")
        },
    }


def _literal(source: str, name: str) -> dict[str, Any]:
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == name for target in node.targets):
            found: dict[str, Any] = ast.literal_eval(node.value)
            return found
    raise ValueError(f"constants.py has no {name}; is this the wheel of alfworld 0.4?")


if __name__ == "__main__":
    text = json.dumps(extract(Path(sys.argv[1])))
    FILE.write_text(re.sub(r'("FloorPlan|"fits"|"able")', r"\n\1", text) + "\n", encoding="ascii")
    print(FILE)
