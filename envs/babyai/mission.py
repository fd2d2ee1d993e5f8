"""The parser of missions: from a BabyAI sentence to its subgoals, in the order in which they must be done.

Invariant: it reads the sentence alone, as any policy can; it does not use minigrid's instruction objects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from envs.babyai.observation import GridObject

_LOCATIONS = {"on your left": "left", "on your right": "right", "in front of you": "front", "behind you": "behind"}
_OBJECT = re.compile(rf"(?:the|an?) (?:(?P<color>\w+) )??(?P<kind>key|ball|box|door|object)(?: (?P<location>{'|'.join(_LOCATIONS)}))?")
_SUBGOAL = re.compile(r"(?P<verb>go to|pick up|open) (?P<target>.+)|put (?P<moved>.+) next to (?P<fixed>.+)")


@dataclass(frozen=True, slots=True)
class ObjectDescription:
    """A description such as "the red ball on your left".

    `kind` and `color` are None where any will do. `location` is left, right, front or behind, as seen from the first pose and within the
    first room; None where the mission gives none.
    """

    text: str
    kind: str | None
    color: str | None
    location: str | None

    def matches(self, candidate: GridObject) -> bool:
        """Whether an object has the kind and the color; its location is not checked here."""
        return candidate.kind != "wall" and self.kind in (None, candidate.kind) and self.color in (None, candidate.color)


@dataclass(frozen=True, slots=True)
class Subgoal:
    """One thing to do: `verb` is "go to", "pick up", "open" or "put"; `next_to` is set for "put" alone."""

    text: str
    verb: str
    target: ObjectDescription
    next_to: ObjectDescription | None = None


def parse_mission(mission: str) -> list[list[Subgoal]]:
    """Groups of subgoals, in the order in which they must be done; within a group the order is free. Raises ValueError."""
    if " after you " in mission:
        later, earlier = mission.split(" after you ")
        ordered = [earlier, later]
    else:
        ordered = mission.split(", then ")
    return [[_parse_subgoal(text) for text in group.split(" and ")] for group in ordered]


def key_for(door: GridObject) -> ObjectDescription:
    """The description of the key that opens a locked door."""
    return ObjectDescription(f"the {door.color} key", "key", door.color, None)


def _parse_subgoal(text: str) -> Subgoal:
    match = _SUBGOAL.fullmatch(text)
    if match is None:
        raise ValueError(f"not a BabyAI mission: {text!r}")
    if match["moved"]:
        return Subgoal(text, "put", _parse_object(match["moved"]), _parse_object(match["fixed"]))
    return Subgoal(text, match["verb"], _parse_object(match["target"]))


def _parse_object(text: str) -> ObjectDescription:
    match = _OBJECT.fullmatch(text)
    if match is None:
        raise ValueError(f"not a BabyAI description of an object: {text!r}")
    kind = None if match["kind"] == "object" else match["kind"]
    return ObjectDescription(text, kind, match["color"], _LOCATIONS.get(match["location"] or ""))
