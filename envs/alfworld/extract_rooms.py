"""Writes rooms.json from an unpacked wheel of the package `alfworld`: `python -m envs.alfworld.extract_rooms FOLDER`.

Only facts are extracted: which room has which receptacles and kinds of objects, what fits into what, what can be heated and so on. The
package itself is no dependency, since it needs packages under the GPL.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from envs.alfworld.rooms import FILE

ROOM_KINDS = {"kitchen": range(1, 31), "living room": range(201, 231), "bedroom": range(301, 331), "bathroom": range(401, 431)}
_BASINS = {"Sink": "SinkBasin", "Bathtub": "BathtubBasin"}
# Receptacles that a layout lists among its objects, with their number in every room that has them.
_RECEPTACLE_COUNTS = {"StoveBurner": 4, "CoffeeMachine": 1, "Toaster": 1, "TowelHolder": 1, "HandTowelHolder": 1, "ToiletPaperHanger": 1}


def extract(folder: Path) -> dict[str, Any]:
    """The contents of rooms.json, from the files of the wheel."""
    source = (folder / "alfworld" / "gen" / "constants.py").read_text(encoding="utf-8")
    allowed_objects = {name.lower(): kinds for name, kinds in _literal(source, "VAL_RECEPTACLE_OBJECTS").items()}
    allowed_objects |= dict.fromkeys(("diningtable", "coffeetable", "sidetable"), allowed_objects["tabletop"])
    kinds_by_property = _literal(source, "VAL_ACTION_OBJECTS")
    rooms = {}
    for room_kind, numbers in ROOM_KINDS.items():
        for number in numbers:
            layout = folder / "alfworld" / "gen" / "layouts" / f"FloorPlan{number}"
            openable = json.loads(Path(f"{layout}-openable.json").read_text(encoding="utf-8"))
            objects = json.loads(Path(f"{layout}-objects.json").read_text(encoding="utf-8"))
            counts = Counter(_BASINS.get(name.partition("|")[0], name.partition("|")[0]) for name in openable)
            counts |= Counter({name: count for name, count in _RECEPTACLE_COUNTS.items() if name in objects and name not in counts})
            receptacles = {name.lower(): count for name, count in sorted(counts.items()) if name.lower() in allowed_objects}
            placeable = {kind.lower() for name in receptacles for kind in allowed_objects[name]} | {"desklamp", "floorlamp"}
            rooms[f"FloorPlan{number}"] = {
                "kind": room_kind,
                "receptacles": receptacles,
                "objects": sorted(name.lower() for name in objects if name.lower() in placeable and name.lower() not in receptacles),
            }
    used = sorted({name for room in rooms.values() for name in room["receptacles"]})
    return {
        "rooms": rooms,
        "fits": {name: sorted(kind.lower() for kind in allowed_objects[name] if "Sliced" not in kind) for name in used},
        "able": {
            name.lower(): sorted(kind.lower() for kind in kinds_by_property[name] if "Sliced" not in kind)
            for name in ("Heatable", "Coolable", "Cleanable", "Toggleable", "Sliceable")
        },
    }


def _literal(source: str, name: str) -> dict[str, Any]:
    """The dictionary that a module assigns to a name. Raises ValueError."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == name for target in node.targets):
            value: dict[str, Any] = ast.literal_eval(node.value)
            return value
    raise ValueError(f"constants.py has no {name}; is this a wheel of alfworld 0.4?")


if __name__ == "__main__":
    text = json.dumps(extract(Path(sys.argv[1])))
    FILE.write_text(re.sub(r'("FloorPlan|"fits"|"able")', r"\n\1", text) + "\n", encoding="ascii")
    print(FILE)
