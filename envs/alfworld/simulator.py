"""The simulator of a household: the rules of ALFWorld's commands and the text that each gives. It has no goals and no rewards.

Invariant: `admissible_commands` are exactly the commands that `execute` carries out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NOTHING_HAPPENS = "Nothing happens."
OPENABLE = frozenset({"fridge", "cabinet", "microwave", "drawer", "safe"})
# verb -> (the property that an object needs, the receptacle that does it, the state after it)
_STATE_CHANGES = {
    "heat": ("heatable", "microwave", "hot"),
    "cool": ("coolable", "fridge", "cold"),
    "clean": ("cleanable", "sinkbasin", "clean"),
}
_OPPOSITE = {"hot": "cold", "cold": "hot"}
_NOT_PORTABLE = frozenset({"desklamp", "floorlamp"})
_KNIVES = frozenset({"knife", "butterknife"})
_CONTAINERS = frozenset({"bowl", "box", "cup", "mug", "pan", "plate", "pot"})
_PUT = re.compile(r"put (?P<object>[a-z]+ \d+) (?:in/on|in|on|into|onto) (?P<receptacle>[a-z]+ \d+)")


def kind_of(name: str) -> str:
    """The kind of an object or receptacle: "mug" of "mug 2"."""
    return name.rpartition(" ")[0]


@dataclass(slots=True)
class Household:
    """One room with its receptacles and objects, which have names such as "mug 2".

    `contents`: receptacle -> objects, in the order of the introduction. `allowed_objects` and `kinds_by_property`: see RoomData.
    """

    contents: dict[str, list[str]]
    allowed_objects: dict[str, tuple[str, ...]]
    kinds_by_property: dict[str, tuple[str, ...]]
    location: str | None = None
    """The receptacle that the agent faces."""
    held: str | None = None
    opened: set[str] = field(default_factory=set)
    states: dict[str, set[str]] = field(default_factory=dict)
    """The states of an object: hot, cold, clean, sliced, used."""

    def look(self) -> str:
        if self.location is None:
            return "You are in the middle of a room. Looking quickly around you, you see nothing."
        return f"You are facing the {self.location}. Next to it, you see nothing."

    def introduction(self) -> str:
        return f"You are in the middle of a room. Looking quickly around you, you see {_list_text(list(self.contents))}."

    def all_objects(self) -> list[str]:
        """The objects in all receptacles; the one in hand is in none."""
        return [name for objects in self.contents.values() for name in objects]

    def visible_objects(self) -> list[str]:
        """The objects of the receptacle that the agent faces, if it is open."""
        return self.contents[self.location] if self.location is not None and self._is_open(self.location) else []

    def admissible_commands(self) -> list[str]:
        """Every command that has an effect or an answer now, in alphabetical order."""
        commands = [f"go to {receptacle}" for receptacle in self.contents if receptacle != self.location]
        commands += ["inventory", "look"]
        if self.held:
            commands.append(f"examine {self.held}")
        if here := self.location:
            commands.append(f"examine {here}")
            if kind_of(here) in OPENABLE:
                commands.append(f"{'close' if here in self.opened else 'open'} {here}")
            if self._is_open(here):
                if self.held is None:
                    commands += [f"take {name} from {here}" for name in self.contents[here] if kind_of(name) not in _NOT_PORTABLE]
                elif kind_of(self.held) in self.allowed_objects[kind_of(here)]:
                    commands.append(f"move {self.held} to {here}")
            commands += [f"use {name}" for name in self.contents[here] if kind_of(name) in self.kinds_by_property["toggleable"]]
            if self.held:
                if kind_of(self.held) in _KNIVES:
                    commands += [
                        f"slice {name} with {self.held}"
                        for name in self.contents[here]
                        if kind_of(name) in self.kinds_by_property["sliceable"]
                    ]
                commands += [
                    f"{verb} {self.held} with {here}"
                    for verb, (needed, appliance, _) in _STATE_CHANGES.items()
                    if kind_of(here) == appliance and kind_of(self.held) in self.kinds_by_property[needed]
                ]
        return sorted(commands)

    def execute(self, command: str) -> str:
        """Carry a command out and return its text; an inadmissible command has no effect. "put X in/on Y" is "move X to Y"."""
        if match := _PUT.fullmatch(command):
            command = f"move {match['object']} to {match['receptacle']}"
        if command not in self.admissible_commands():
            return NOTHING_HAPPENS
        verb, _, rest = command.partition(" ")
        if verb == "go":
            self.location = rest.removeprefix("to ")
            return f"You arrive at {self.location}. {self._receptacle_text(self.location)}"
        if verb == "look":
            return self.look()
        if verb == "inventory":
            return f"You are carrying: {_with_article(self.held)}." if self.held else "You are not carrying anything."
        if verb == "examine":
            return self._receptacle_text(rest) if rest in self.contents else self._object_text(rest)
        if verb == "open":
            self.opened.add(rest)
            return f"You open the {rest}. {self._receptacle_text(rest)}"
        if verb == "close":
            self.opened.discard(rest)
            return f"You close the {rest}."
        if verb == "use":
            self.states.setdefault(rest, set()).add("used")
            return f"You turn on the {rest}."
        if verb == "slice":
            name, knife = rest.split(" with ")
            self.states.setdefault(name, set()).add("sliced")
            return f"You sliced the {name} with the {knife}."
        return self._handle_object(verb, *re.split(r" from | to | with ", rest))

    def _handle_object(self, verb: str, name: str, receptacle: str) -> str:
        if verb == "take":
            self.contents[receptacle].remove(name)
            self.held = name
            return f"You pick up the {name} from the {receptacle}."
        if verb == "move":
            self.contents[receptacle].append(name)
            self.held = None
            return f"You move the {name} to the {receptacle}."
        state = _STATE_CHANGES[verb][2]
        states = self.states.setdefault(name, set())
        states.discard(_OPPOSITE.get(state, ""))
        states.add(state)
        return f"You {verb} the {name} using the {receptacle}."

    def _is_open(self, receptacle: str) -> bool:
        return kind_of(receptacle) not in OPENABLE or receptacle in self.opened

    def _receptacle_text(self, receptacle: str) -> str:
        if not self._is_open(receptacle):
            return f"The {receptacle} is closed."
        if kind_of(receptacle) in OPENABLE:
            return f"The {receptacle} is open. In it, you see {_list_text(self.contents[receptacle])}."
        return f"On the {receptacle}, you see {_list_text(self.contents[receptacle])}."

    def _object_text(self, name: str) -> str:
        if kind_of(name) in _CONTAINERS:
            return f"This is a normal {name}. In it, you see nothing."
        states = self.states.get(name, set())
        cold = "cool" if states & {"clean", "sliced"} else "cold"  # TextWorld's wording depends on the other states
        temperature = "hot" if "hot" in states else cold if "cold" in states else ""
        adjectives = " and ".join(word for word in (temperature, "clean" if "clean" in states else "") if word)
        adjectives = f"{adjectives} sliced".strip() if "sliced" in states else adjectives
        return f"This is a {adjectives} {name}." if adjectives else f"There's nothing special about {name}."


def _with_article(name: str | None) -> str:
    return f"{'an' if name and name[0] in 'aeiou' else 'a'} {name}"


def _list_text(names: list[str]) -> str:
    """As in TextWorld: commas between all, also before the "and" of the last."""
    texts = [_with_article(name) for name in names]
    if len(texts) > 1:
        return ", ".join([*texts[:-1], f"and {texts[-1]}"])
    return texts[0] if texts else "nothing"
