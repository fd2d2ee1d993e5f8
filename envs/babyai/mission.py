"""A BabyAI mission taken apart: from its sentence to the parts to do, in the order in which they count.

Invariant: reads the sentence alone, as any player can; knows nothing of minigrid's instruction objects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from envs.babyai.view import Thing

_PLACES = {"on your left": "left", "on your right": "right", "in front of you": "front", "behind you": "behind"}
_NOUN = rf"(?:the|an?) (?:(?P<color>\w+) )??(?P<kind>key|ball|box|door|object)(?: (?P<place>{'|'.join(_PLACES)}))?"
_PART = re.compile(r"(?P<verb>go to|pick up|open) (?P<what>.+)|put (?P<moved>.+) next to (?P<fixed>.+)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A description such as "the red ball on your left". `place` is as seen from the start, within the first room."""

    words: str
    kind: str | None
    color: str | None
    place: str | None

    def fits(self, thing: Thing) -> bool:
        """Whether a thing looks like it (its place is another matter)."""
        return thing.kind != "wall" and self.kind in (None, thing.kind) and self.color in (None, thing.color)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to do: `verb` is go to, pick up, open or put; `beside` is set for put alone."""

    words: str
    verb: str
    wanted: Wanted
    beside: Wanted | None = None


def parts_of(mission: str) -> list[list[Part]]:
    """The groups of parts, one group after the other; within a group the order is free. Raises ValueError on an unknown sentence."""
    if " after you " in mission:
        later, earlier = mission.split(" after you ")
        ordered = [earlier, later]
    else:
        ordered = mission.split(", then ")
    return [[_part(words) for words in group.split(" and ")] for group in ordered]


def key_for(door: Thing) -> Wanted:
    return Wanted(f"the {door.color} key", "key", door.color, None)


def _part(words: str) -> Part:
    found = _PART.fullmatch(words)
    if found is None:
        raise ValueError(f"not a BabyAI mission: {words!r}")
    if found["moved"]:
        return Part(words, "put", _wanted(found["moved"]), _wanted(found["fixed"]))
    return Part(words, found["verb"], _wanted(found["what"]))


def _wanted(words: str) -> Wanted:
    found = re.fullmatch(_NOUN, words)
    if found is None:
        raise ValueError(f"not a BabyAI description: {words!r}")
    kind = None if found["kind"] == "object" else found["kind"]
    return Wanted(words, kind, found["color"], _PLACES.get(found["place"] or ""))
