"""What the agent sees at one moment: the 7 x 7 view as things with places, as text, and as a list of actions.

Invariant: everything here follows from the visible cells and the carried thing alone; nothing behind a wall or a closed door leaks.
Places are relative to the agent: (steps ahead, steps to the right), left being negative.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# minigrid's primitive moves
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, STAY = range(7)

Place = tuple[int, int]
HEADINGS: tuple[Place, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))  # ahead, right, back, left


@dataclass(frozen=True, slots=True)
class Thing:
    """A key, ball, box, door or wall. `state` is open, closed or locked for a door, empty for the rest."""

    kind: str
    color: str
    state: str = ""

    @property
    def name(self) -> str:
        return f"{self.color} {self.state} {self.kind}" if self.state else f"{self.color} {self.kind}"

    @property
    def passable(self) -> bool:
        return self.state == "open"

    @property
    def portable(self) -> bool:
        return self.kind in ("key", "ball", "box")


@dataclass(frozen=True, slots=True)
class Sight:
    """A thing in view. `number` tells equal-looking ones apart, the nearest first."""

    thing: Thing
    number: int
    place: Place

    @property
    def label(self) -> str:
        return f"{self.thing.name} {self.number}"

    @property
    def where(self) -> str:
        ahead, right = self.place
        if right == 0:
            return f"right in front of you {ahead} steps away"
        return f"{ahead} steps in front of you and {abs(right)} steps to your {'right' if right > 0 else 'left'}"


class View:
    """One look at the world. `cells` maps each visible place to its thing, or to None where the floor is free."""

    def __init__(self, cells: dict[Place, Thing | None], carrying: Thing | None) -> None:
        self.cells = cells
        self.carrying = carrying
        self.sights = tuple(_sights(cells))
        self._paths: dict[tuple[Place, int], tuple[int, ...]] | None = None

    @classmethod
    def of(cls, world: Any) -> View:
        """The view of a minigrid world's agent."""
        grid, visible = world.gen_obs_grid()
        size = world.agent_view_size
        cells: dict[Place, Thing | None] = {}
        for column in range(size):
            for row in range(size):
                place = (size - 1 - row, column - size // 2)
                if visible[column, row] and place != (0, 0):  # minigrid draws the carried thing at the agent's own place
                    cells[place] = _thing(grid.get(column, row))
        return cls(cells, _thing(world.carrying))

    @property
    def ahead(self) -> Thing | None:
        """What is right in front of the agent."""
        return self.cells.get((1, 0))

    def text(self) -> str:
        """The description, in AgentGym's manner, without the list of actions."""
        if self.sights:
            listed = " ".join(f"There is a {sight.label} {sight.where}." for sight in self.sights)
            seen = f"In front of you in this room, you can see several objects: {listed}"
        else:
            seen = "You cannot see any objects within sight."
        facing = ""
        for steps in range(1, 8):
            barrier = self.cells.get((steps, 0))
            if barrier is not None and barrier.kind in ("wall", "box"):
                facing = f" You are facing a {barrier.kind} {steps} steps away."
                break
        held = f"You are carrying a {self.carrying.name}." if self.carrying else "You are not carrying anything."
        return f"{seen} The room has walls around you.{facing} {held}"

    def actions(self) -> dict[str, tuple[int, ...]]:
        """Every action open now with its primitive moves, in the order in which it is listed."""
        actions: dict[str, tuple[int, ...]] = {"turn left": (LEFT,), "turn right": (RIGHT,)}
        front = self.ahead
        if self._free((1, 0)):
            actions["move forward"] = (FORWARD,)
        for sight in self.sights:
            facing = self._path_facing(sight.place)
            if facing is None:
                continue
            # Facing it already, going there is one idle step: the goal "go to" is only checked after a step.
            actions[f"go to {sight.label}"] = facing or (STAY,)
            if sight.thing.portable and self.carrying is None:
                actions[f"pickup {sight.label}"] = (*facing, PICKUP)
            if sight.thing.passable:
                onto = self._path_onto(sight.place)
                if onto is not None:
                    actions[f"go through {sight.label}"] = onto
            elif self._opens(sight.thing):
                actions[f"toggle and go through {sight.label}"] = (*facing, TOGGLE, FORWARD)
        if front is not None and (front.kind == "box" or front.passable or self._opens(front)):
            actions["toggle"] = (TOGGLE,)
        if self.carrying is not None and (1, 0) in self.cells and front is None:
            actions["drop"] = (DROP,)
        return actions

    def _opens(self, thing: Thing) -> bool:
        """Whether toggling opens it now: a closed door, or a locked one with its key in hand."""
        key = Thing("key", thing.color)
        return thing.state == "closed" or (thing.state == "locked" and self.carrying == key)

    def _free(self, place: Place) -> bool:
        if place not in self.cells:
            return place == (0, 0)
        thing = self.cells[place]
        return thing is None or thing.passable

    def _path_facing(self, place: Place) -> tuple[int, ...] | None:
        """The shortest way to stand before a place and look at it; None where there is none over visible free cells."""
        ends = (self._reach().get(((place[0] - step[0], place[1] - step[1]), heading)) for heading, step in enumerate(HEADINGS))
        return min((path for path in ends if path is not None), key=len, default=None)

    def _path_onto(self, place: Place) -> tuple[int, ...] | None:
        ends = (self._reach().get((place, heading)) for heading in range(4))
        return min((path for path in ends if path is not None), key=len, default=None)

    def _reach(self) -> dict[tuple[Place, int], tuple[int, ...]]:
        """The shortest moves to every pose within the view (breadth-first, going straight before turning)."""
        if self._paths is None:
            start: tuple[Place, int] = ((0, 0), 0)
            self._paths = {start: ()}
            queue = deque([start])
            while queue:
                place, heading = pose = queue.popleft()
                path = self._paths[pose]
                step = HEADINGS[heading]
                forward = (place[0] + step[0], place[1] + step[1])
                following = [((place, (heading - 1) % 4), LEFT), ((place, (heading + 1) % 4), RIGHT)]
                if self._free(forward):
                    following.insert(0, ((forward, heading), FORWARD))
                for after, move in following:
                    if after not in self._paths:
                        self._paths[after] = (*path, move)
                        queue.append(after)
        return self._paths


def _sights(cells: dict[Place, Thing | None]) -> Iterator[Sight]:
    """Nearest first; among equals the farther ahead, then from left to right."""
    counts: dict[str, int] = {}
    for place in sorted(cells, key=lambda place: (abs(place[0]) + abs(place[1]), -place[0], place[1])):
        thing = cells[place]
        if thing is not None and thing.kind != "wall":
            counts[thing.name] = counts.get(thing.name, 0) + 1
            yield Sight(thing, counts[thing.name], place)


def _thing(cell: Any) -> Thing | None:
    if cell is None:
        return None
    if cell.type == "door":
        return Thing("door", cell.color, "open" if cell.is_open else "locked" if cell.is_locked else "closed")
    return Thing(cell.type, cell.color)
