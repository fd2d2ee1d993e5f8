"""The observation: the agent's 7 x 7 view as objects with offsets, and its description as text.

Invariant: everything here follows from the visible cells and the carried object alone; nothing behind a wall or a closed door leaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from envs.babyai.geometry import Offset


@dataclass(frozen=True, slots=True)
class GridObject:
    """A key, ball, box, door or wall. `state` is open, closed or locked for a door, empty for the rest."""

    kind: str
    color: str
    state: str = ""

    @property
    def name(self) -> str:
        return f"{self.color} {self.state} {self.kind}" if self.state else f"{self.color} {self.kind}"

    @property
    def is_passable(self) -> bool:
        return self.state == "open"

    @property
    def is_portable(self) -> bool:
        return self.kind in ("key", "ball", "box")


@dataclass(frozen=True, slots=True)
class VisibleObject:
    """An object in view. Objects with the same name are numbered from 1, the nearest first."""

    object: GridObject
    number: int
    offset: Offset

    @property
    def label(self) -> str:
        return f"{self.object.name} {self.number}"

    @property
    def location_text(self) -> str:
        ahead, right = self.offset
        if right == 0:
            return f"right in front of you {ahead} steps away"
        return f"{ahead} steps in front of you and {abs(right)} steps to your {'right' if right > 0 else 'left'}"


class View:
    """What the agent sees at one moment. `cells` maps each visible cell's offset to its object, or to None where the floor is free."""

    def __init__(self, cells: dict[Offset, GridObject | None], carrying: GridObject | None) -> None:
        self.cells = cells
        self.carrying = carrying
        self.objects = tuple(_numbered_objects(cells))

    @classmethod
    def from_minigrid(cls, minigrid_env: Any) -> View:
        """The view of the agent in a minigrid environment."""
        grid, visible = minigrid_env.gen_obs_grid()
        size = minigrid_env.agent_view_size
        cells: dict[Offset, GridObject | None] = {}
        for column in range(size):
            for row in range(size):
                offset = (size - 1 - row, column - size // 2)
                if visible[column, row] and offset != (0, 0):  # minigrid draws the carried object at the agent's own cell
                    cells[offset] = _from_minigrid(grid.get(column, row))
        return cls(cells, _from_minigrid(minigrid_env.carrying))

    @property
    def object_ahead(self) -> GridObject | None:
        """The object right in front of the agent."""
        return self.cells.get((1, 0))

    def is_walkable(self, offset: Offset) -> bool:
        """Whether a cell is visible and can be entered; the agent's own cell can."""
        if offset not in self.cells:
            return offset == (0, 0)
        content = self.cells[offset]
        return content is None or content.is_passable

    def text(self) -> str:
        """The description, in AgentGym's wording, without the list of actions."""
        if self.objects:
            listed = " ".join(f"There is a {visible.label} {visible.location_text}." for visible in self.objects)
            contents = f"In front of you in this room, you can see several objects: {listed}"
        else:
            contents = "You cannot see any objects within sight."
        facing = ""
        for steps in range(1, 8):
            barrier = self.cells.get((steps, 0))
            if barrier is not None and barrier.kind in ("wall", "box"):
                facing = f" You are facing a {barrier.kind} {steps} steps away."
                break
        carrying = f"You are carrying a {self.carrying.name}." if self.carrying else "You are not carrying anything."
        return f"{contents} The room has walls around you.{facing} {carrying}"


def _numbered_objects(cells: dict[Offset, GridObject | None]) -> Iterator[VisibleObject]:
    """All objects but walls, nearest first; at the same distance the one farther ahead, then from left to right."""
    counts: dict[str, int] = {}
    for offset in sorted(cells, key=lambda offset: (abs(offset[0]) + abs(offset[1]), -offset[0], offset[1])):
        content = cells[offset]
        if content is not None and content.kind != "wall":
            counts[content.name] = counts.get(content.name, 0) + 1
            yield VisibleObject(content, counts[content.name], offset)


def _from_minigrid(world_object: Any) -> GridObject | None:
    if world_object is None:
        return None
    if world_object.type == "door":
        state = "open" if world_object.is_open else "locked" if world_object.is_locked else "closed"
        return GridObject("door", world_object.color, state)
    return GridObject(world_object.type, world_object.color)
