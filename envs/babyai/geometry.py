"""Cells, headings and poses on the grid, for absolute coordinates (the expert's map) and for coordinates relative to the agent (a view).

Invariant: a heading is an index of DIRECTIONS. In absolute coordinates (x, y) it is minigrid's: 0 east, 1 south, 2 west, 3 north. In
relative coordinates (steps ahead, steps to the right) it is 0 ahead, 1 right, 2 back, 3 left.
"""

from __future__ import annotations

Cell = tuple[int, int]
"""(x, y) on the grid; y grows to the south."""
Offset = tuple[int, int]
"""A cell relative to the agent: (steps ahead, steps to the right). Negative numbers are behind and to the left."""
Pose = tuple[Cell, int]
"""(cell, heading)"""
DIRECTIONS: tuple[Cell, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))


def neighbor(cell: Cell, heading: int, steps: int = 1) -> Cell:
    """The cell `steps` away in the direction of a heading; negative steps go backwards."""
    return cell[0] + steps * DIRECTIONS[heading][0], cell[1] + steps * DIRECTIONS[heading][1]


def offset_from(pose: Pose, cell: Cell) -> Offset:
    """Where a cell lies relative to a pose."""
    (x, y), heading = pose
    dx, dy = cell[0] - x, cell[1] - y
    (fx, fy), (rx, ry) = DIRECTIONS[heading], DIRECTIONS[(heading + 1) % 4]
    return dx * fx + dy * fy, dx * rx + dy * ry
