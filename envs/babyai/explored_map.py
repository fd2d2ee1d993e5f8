"""The expert's map: the cells seen so far, the shortest paths over them, and where there is more to see.

Invariant: it is fed with the views at the ends of turns alone, so it holds nothing that the transcript does not show.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush

from envs.babyai.geometry import Cell, Pose, neighbor, offset_from
from envs.babyai.mission import ObjectDescription
from envs.babyai.observation import GridObject, View

ShortestPaths = dict[Pose, tuple[int, Pose | None]]
"""A shortest-path tree, nearest pose first: pose -> (its cost in moves, the pose before it)."""
VIEW_DEPTH, VIEW_HALF_WIDTH = 6, 3  # the view: six cells ahead, three to each side
_OBSTACLE_COST = 20  # the cost in moves of a cell whose object has to be carried off first


class ExploredMap:
    """The map so far. `start` is the first pose, `pose` the present one; `cells` maps each seen cell to its object or to None."""

    def __init__(self, start: Pose) -> None:
        self.start = self.pose = start
        self.cells: dict[Cell, GridObject | None] = {start[0]: None}
        self._viewed_from: set[Pose] = set()
        self._paths: dict[bool, ShortestPaths] = {}
        self._frontiers: dict[tuple[tuple[Cell, ...], bool], set[Cell]] = {}

    def update(self, view: View, pose: Pose) -> None:
        """Add what one view shows."""
        self.pose = pose
        self._viewed_from.add(pose)
        self._paths.clear()
        self._frontiers.clear()
        cell, heading = pose
        below = self.cells.get(cell)
        self.cells[cell] = GridObject("door", below.color, "open") if below is not None and below.kind == "door" else None
        for (ahead, right), content in view.cells.items():
            self.cells[neighbor(neighbor(cell, heading, ahead), (heading + 1) % 4, right)] = content

    def object_at(self, cell: Cell) -> GridObject:
        """The object in a cell that is known to hold one."""
        content = self.cells[cell]
        assert content is not None
        return content

    def is_walkable(self, cell: Cell) -> bool:
        """Whether a cell is known and can be entered."""
        if cell not in self.cells:
            return False
        content = self.cells[cell]
        return content is None or content.is_passable

    def cells_matching(self, description: ObjectDescription) -> list[Cell]:
        """The known cells of the objects that fit a description, its location included."""
        room = self._first_room() if description.location else set()
        return [
            cell
            for cell, content in self.cells.items()
            if content is not None
            and description.matches(content)
            and (not description.location or self._is_at_location(cell, description.location, room))
        ]

    def poses_facing(self, cell: Cell, through_objects: bool = False) -> set[Pose]:
        """The poses that look at a cell from the next one (with `through_objects`, also those in cells that a portable object occupies)."""
        return {
            (neighbor(cell, heading, -1), heading) for heading in range(4) if self._can_enter(neighbor(cell, heading, -1), through_objects)
        }

    def shortest_paths(self, through_objects: bool = False) -> ShortestPaths:
        """The shortest paths from the present pose to every pose that can be reached, nearest first.

        With `through_objects`, portable objects do not block but cost extra, so the path past the fewest of them is the shortest.
        """
        if through_objects not in self._paths:
            self._paths[through_objects] = self._dijkstra(through_objects)
        return self._paths[through_objects]

    def would_block(self, cell: Cell, goals: set[Pose]) -> bool:
        """Whether an object put down in `cell` would leave no free path from the present pose to any of `goals`."""
        before = self.cells[cell]
        self.cells[cell] = GridObject("box", "grey")
        reachable = self._dijkstra(through_objects=False)
        self.cells[cell] = before
        return reachable.keys().isdisjoint(goals)

    def distances_to(self, goals: set[Pose]) -> dict[Pose, int]:
        """For every pose that has a free path to one of `goals`, the fewest moves to it."""
        distances = dict.fromkeys(goals, 0)
        queue = deque(sorted(goals))
        while queue:
            pose = queue.popleft()
            cell, heading = pose
            predecessors = [(cell, (heading - 1) % 4), (cell, (heading + 1) % 4)]
            behind = neighbor(cell, heading, -1)
            if self.is_walkable(behind) and self.is_walkable(cell):
                predecessors.append((behind, heading))
            for predecessor in predecessors:
                if predecessor not in distances:
                    distances[predecessor] = distances[pose] + 1
                    queue.append(predecessor)
        return distances

    def reveals_cells(self, pose: Pose, include_walls: bool = False) -> bool:
        """Whether a first view from a pose would show unknown cells next to the known floor of its room.

        Unknown cells in line with a door count only with `include_walls`: they are walls, as each side of a room has one door at most.
        """
        return pose not in self._viewed_from and any(_is_in_view(pose, cell) for cell in self._frontier(pose, include_walls))

    def _dijkstra(self, through_objects: bool) -> ShortestPaths:
        paths: ShortestPaths = {}
        queue: list[tuple[int, int, Pose, Pose | None]] = [(0, 0, self.pose, None)]
        pushed = 0
        while queue:
            cost, _, pose, before = heappop(queue)
            if pose in paths:
                continue
            paths[pose] = (cost, before)
            cell, heading = pose
            ahead = neighbor(cell, heading)
            successors = [(cell, (heading - 1) % 4), (cell, (heading + 1) % 4)]
            if self._can_enter(ahead, through_objects):
                successors.insert(0, (ahead, heading))
            for successor in successors:
                pushed += 1  # at equal cost the first pushed comes first: straight on, then left, then right
                step_cost = 1 if successor[0] == cell or self.is_walkable(successor[0]) else _OBSTACLE_COST
                heappush(queue, (cost + step_cost, pushed, successor, pose))
        return paths

    def _can_enter(self, cell: Cell, through_objects: bool) -> bool:
        content = self.cells.get(cell)
        return self.is_walkable(cell) or (through_objects and content is not None and content.is_portable)

    def _frontier(self, pose: Pose, include_walls: bool) -> set[Cell]:
        """The unknown cells next to the known floor of the room that a pose is in (from a doorway: the room ahead)."""
        cell, heading = pose
        starts = (cell,) if self.cells.get(cell) is None else (neighbor(cell, heading), cell)
        if (starts, include_walls) not in self._frontiers:
            around = {(neighbor(inside, side), side) for inside in self._room_floor(*starts) for side in range(4)}
            self._frontiers[starts, include_walls] = {
                cell for cell, side in around if cell not in self.cells and (include_walls or not self._is_in_line_with_door(cell, side))
            }
        return self._frontiers[starts, include_walls]

    def _is_in_line_with_door(self, cell: Cell, side: int) -> bool:
        """Whether the line through a cell, square to `side`, meets a door before it meets open floor."""
        for heading in ((side + 1) % 4, (side - 1) % 4):
            for steps in range(1, VIEW_DEPTH + 1):
                on_line = neighbor(cell, heading, steps)
                if on_line in self.cells:
                    content = self.cells[on_line]
                    if content is not None and content.kind == "door":
                        return True
                    if content is None or content.kind != "wall":
                        break
        return False

    def _room_floor(self, *starts: Cell) -> Iterator[Cell]:
        """The known cells of one room, found from the starts without passing walls and doors; known starts are included."""
        seen = {cell for cell in starts if cell in self.cells}
        queue = deque(sorted(seen))
        known_starts = set(seen)
        while queue:
            cell = queue.popleft()
            content = self.cells[cell]
            if content is not None and not content.is_portable:
                if cell in known_starts and content.is_passable:  # in a doorway: the cell ahead is what a view can add
                    yield cell
                continue
            yield cell
            for heading in range(4):
                adjacent = neighbor(cell, heading)
                if adjacent in self.cells and adjacent not in seen:
                    seen.add(adjacent)
                    queue.append(adjacent)

    def _first_room(self) -> set[Cell]:
        floor = set(self._room_floor(self.start[0]))
        return floor | {neighbor(cell, heading) for cell in floor for heading in range(4)}

    def _is_at_location(self, cell: Cell, location: str, room: set[Cell]) -> bool:
        ahead, right = offset_from(self.start, cell)
        return cell in room and {"left": right < 0, "right": right > 0, "front": ahead > 0, "behind": ahead < 0}[location]


def _is_in_view(pose: Pose, cell: Cell) -> bool:
    ahead, right = offset_from(pose, cell)
    return 0 <= ahead <= VIEW_DEPTH and abs(right) <= VIEW_HALF_WIDTH
