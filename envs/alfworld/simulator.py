"""The household: what lies where, and what each command does to it. No text of goals, no rewards.

Invariant: the commands that are `admissible` are exactly those that `do` carries out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NOTHING = "Nothing happens."
OPENABLE = frozenset({"fridge", "cabinet", "microwave", "drawer", "safe"})
_CHANGES = {"heat": ("heatable", "microwave", "hot"), "cool": ("coolable", "fridge", "cold"), "clean": ("cleanable", "sinkbasin", "clean")}
_UNDONE = {"hot": "cold", "cold": "hot"}
_FIXED = frozenset({"desklamp", "floorlamp"})  # they cannot be taken along
_KNIVES = frozenset({"knife", "butterknife"})
_HOLLOW = frozenset({"bowl", "box", "cup", "mug", "pan", "plate", "pot"})
_PUT = re.compile(r"(?:move (?P<o>[a-z]+ \d+) to|put (?P<p>[a-z]+ \d+) (?:in/on|in|on|into|onto)) (?P<r>[a-z]+ \d+)")


def kind_of(name: str) -> str:
    """The kind of a thing such as "mug 2"."""
    return name.rpartition(" ")[0]


@dataclass(slots=True)
class World:
    """`contents`: receptacle (in the order in which they are told) to objects. Names are like "mug 2"."""

    contents: dict[str, list[str]]
    fits: dict[str, tuple[str, ...]]
    able: dict[str, tuple[str, ...]]
    place: str | None = None
    held: str | None = None
    opened: set[str] = field(default_factory=set)
    states: dict[str, set[str]] = field(default_factory=dict)
    """What has become of an object: hot, cold, clean, sliced, used."""

    def look(self) -> str:
        if self.place is None:
            return "You are in the middle of a room. Looking quickly around you, you see nothing."
        return f"You are facing the {self.place}. Next to it, you see nothing."

    def welcome(self) -> str:
        return f"You are in the middle of a room. Looking quickly around you, you see {_listed(list(self.contents))}."

    def admissible(self) -> list[str]:
        """Every command that does something now, in alphabetical order."""
        found = [f"go to {receptacle}" for receptacle in self.contents if receptacle != self.place]
        found += ["inventory", "look"]
        if self.held:
            found.append(f"examine {self.held}")
        if here := self.place:
            found.append(f"examine {here}")
            if kind_of(here) in OPENABLE:
                found.append(f"{'close' if here in self.opened else 'open'} {here}")
            if self._reachable(here):
                if self.held is None:
                    found += [f"take {thing} from {here}" for thing in self.contents[here] if kind_of(thing) not in _FIXED]
                elif kind_of(self.held) in self.fits[kind_of(here)]:
                    found.append(f"move {self.held} to {here}")
            found += [f"use {thing}" for thing in self.contents[here] if kind_of(thing) in self.able["toggleable"]]
            if self.held:
                if kind_of(self.held) in _KNIVES:
                    found += [
                        f"slice {thing} with {self.held}" for thing in self.contents[here] if kind_of(thing) in self.able["sliceable"]
                    ]
                found += [
                    f"{verb} {self.held} with {here}"
                    for verb, (able, receptacle, _) in _CHANGES.items()
                    if kind_of(here) == receptacle and kind_of(self.held) in self.able[able]
                ]
        return sorted(found)

    def do(self, command: str) -> str:
        """Carry a command out and say what came of it; what is not admissible does nothing. "put X in/on Y" is "move X to Y"."""
        if put := _PUT.fullmatch(command):
            command = f"move {put['o'] or put['p']} to {put['r']}"
        if command not in self.admissible():
            return NOTHING
        verb, _, rest = command.partition(" ")
        if verb == "go":
            self.place = rest.removeprefix("to ")
            return f"You arrive at {self.place}. {self._seen(self.place)}"
        if verb == "look":
            return self.look()
        if verb == "inventory":
            return f"You are carrying: {_article(self.held)}." if self.held else "You are not carrying anything."
        if verb == "examine":
            return self._seen(rest) if rest in self.contents else self._described(rest)
        if verb == "open":
            self.opened.add(rest)
            return f"You open the {rest}. {self._seen(rest)}"
        if verb == "close":
            self.opened.discard(rest)
            return f"You close the {rest}."
        if verb == "use":
            self.states.setdefault(rest, set()).add("used")
            return f"You turn on the {rest}."
        if verb == "slice":
            thing, knife = rest.split(" with ")
            self.states.setdefault(thing, set()).add("sliced")
            return f"You sliced the {thing} with the {knife}."
        return self._handle(verb, *re.split(r" from | to | with ", rest))

    def _handle(self, verb: str, thing: str, receptacle: str) -> str:
        if verb == "take":
            self.contents[receptacle].remove(thing)
            self.held = thing
            return f"You pick up the {thing} from the {receptacle}."
        if verb == "move":
            self.contents[receptacle].append(thing)
            self.held = None
            return f"You move the {thing} to the {receptacle}."
        state = _CHANGES[verb][2]
        of_thing = self.states.setdefault(thing, set())
        of_thing.discard(_UNDONE.get(state, ""))
        of_thing.add(state)
        return f"You {verb} the {thing} using the {receptacle}."

    def _reachable(self, receptacle: str) -> bool:
        return kind_of(receptacle) not in OPENABLE or receptacle in self.opened

    def _seen(self, receptacle: str) -> str:
        if not self._reachable(receptacle):
            return f"The {receptacle} is closed."
        if kind_of(receptacle) in OPENABLE:
            return f"The {receptacle} is open. In it, you see {_listed(self.contents[receptacle])}."
        return f"On the {receptacle}, you see {_listed(self.contents[receptacle])}."

    def _described(self, thing: str) -> str:
        if kind_of(thing) in _HOLLOW:
            return f"This is a normal {thing}. In it, you see nothing."
        states = self.states.get(thing, set())
        more = states & {"clean", "sliced"}
        heat = "hot" if "hot" in states else "" if "cold" not in states else "cool" if more else "cold"
        words = " and ".join(word for word in (heat, "clean" if "clean" in states else "") if word)
        words = f"{words} sliced".strip() if "sliced" in states else words
        return f"This is a {words} {thing}." if words else f"There's nothing special about {thing}."


def _article(name: str | None) -> str:
    return f"{'an' if name and name[0] in 'aeiou' else 'a'} {name}"


def _listed(names: list[str]) -> str:
    """As TextWorld lists: a comma between two, and "and" before the last of more."""
    told = [_article(name) for name in names]
    return ", ".join([*told[:-1], f"and {told[-1]}"]) if len(told) > 1 else told[0] if told else "nothing"
