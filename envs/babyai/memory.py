"""What a player who remembers its views knows: a map of the cells seen so far, and the ways over it.

Invariant: fed with the views at the ends of turns alone, so it holds nothing that the transcript does not show. A pose is (cell,
heading); headings are minigrid's: 0 east, 1 south, 2 west, 3 north.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush

from envs.babyai.mission import Wanted
from envs.babyai.view import FORWARD, LEFT, RIGHT, Place, Thing, View

Pose = tuple[Place, int]
Walks = dict[Pose, tuple[int, Pose | None]]
VECTORS: tuple[Place, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))
REACH, HALF = 6, 3  # the view: six cells ahead, three to each side
_DETOUR = 20  # what one thing in the way is worth, in moves


def step(cell: Place, heading: int, steps: int = 1) -> Place:
    return cell[0] + steps * VECTORS[heading][0], cell[1] + steps * VECTORS[heading][1]


def turned(heading: int, move: int) -> int:
    return (heading + (1 if move == RIGHT else -1)) % 4


def after(pose: Pose, moves: tuple[int, ...]) -> Pose:
    """The pose at the end of a walk (turns and steps only)."""
    cell, heading = pose
    for move in moves:
        if move == FORWARD:
            cell = step(cell, heading)
        elif move in (LEFT, RIGHT):
            heading = turned(heading, move)
    return cell, heading


def relative(pose: Pose, cell: Place) -> Place:
    """Where a cell lies from a pose: (steps ahead, steps to the right)."""
    (x, y), heading = pose
    dx, dy = cell[0] - x, cell[1] - y
    (fx, fy), (rx, ry) = VECTORS[heading], VECTORS[(heading + 1) % 4]
    return dx * fx + dy * fy, dx * rx + dy * ry


class Memory:
    """The map so far. `start` is the first pose, `pose` the present one."""

    def __init__(self, start: Pose) -> None:
        self.start = self.pose = start
        self.cells: dict[Place, Thing | None] = {start[0]: None}
        self.looked: set[Pose] = set()
        self._walks: dict[bool, Walks] = {}
        self._edges: dict[tuple[tuple[Place, ...], bool], set[Place]] = {}

    def update(self, view: View, pose: Pose) -> None:
        """Add what one view shows."""
        self.pose = pose
        self.looked.add(pose)
        self._walks.clear()
        self._edges.clear()
        cell, heading = pose
        below = self.cells.get(cell)
        self.cells[cell] = Thing("door", below.color, "open") if below is not None and below.kind == "door" else None
        for (ahead, right), thing in view.cells.items():
            self.cells[step(step(cell, heading, ahead), (heading + 1) % 4, right)] = thing

    def free(self, cell: Place) -> bool:
        """Known, and open to walk over."""
        if cell not in self.cells:
            return False
        thing = self.cells[cell]
        return thing is None or thing.passable

    def all(self, wanted: Wanted) -> list[Place]:
        """The known places of things that fit a description."""
        room = self._first_room() if wanted.place else set()
        found = []
        for cell, thing in self.cells.items():
            if thing is not None and wanted.fits(thing) and (not wanted.place or self._in_place(cell, wanted.place, room)):
                found.append(cell)
        return found

    def facing(self, cell: Place, through: bool = False) -> set[Pose]:
        """The poses from which a cell is right in front (with `through`, also those that a portable thing now occupies)."""
        return {(step(cell, heading, -1), heading) for heading in range(4) if self._enterable(step(cell, heading, -1), through)}

    def walks(self, through: bool = False) -> Walks:
        """Every pose that can be reached from here, nearest first: its distance in moves and the pose before it.

        With `through`, portable things do not block but make the way longer, so the way with the fewest of them comes first.
        """
        if through not in self._walks:
            self._walks[through] = self._spread(through)
        return self._walks[through]

    def cut_off_by(self, spot: Place, ends: set[Pose]) -> bool:
        """Whether a thing put down at `spot` would leave no free way from here to any of `ends`."""
        before = self.cells[spot]
        self.cells[spot] = Thing("box", "grey")
        left = self._spread(through=False)
        self.cells[spot] = before
        return left.keys().isdisjoint(ends)

    def _spread(self, through: bool) -> Walks:
        found: Walks = {}
        queue: list[tuple[int, int, Pose, Pose | None]] = [(0, 0, self.pose, None)]
        pushed = 0
        while queue:
            distance, _, pose, before = heappop(queue)
            if pose in found:
                continue
            found[pose] = (distance, before)
            cell, heading = pose
            ahead = step(cell, heading)
            following = [(cell, (heading - 1) % 4), (cell, (heading + 1) % 4)]
            if self._enterable(ahead, through):
                following.insert(0, (ahead, heading))
            for other in following:
                pushed += 1  # first come, first served among equals: straight on, then left, then right
                cost = 1 if other[0] == cell or self.free(other[0]) else _DETOUR
                heappush(queue, (distance + cost, pushed, other, pose))
        return found

    def _enterable(self, cell: Place, through: bool) -> bool:
        thing = self.cells.get(cell)
        return self.free(cell) or (through and thing is not None and thing.portable)

    def distances(self, ends: set[Pose]) -> dict[Pose, int]:
        """For every pose, the fewest moves to one of `ends`."""
        found = dict.fromkeys(ends, 0)
        queue = deque(sorted(ends))
        while queue:
            pose = queue.popleft()
            cell, heading = pose
            before = [(cell, (heading - 1) % 4), (cell, (heading + 1) % 4)]
            behind = step(cell, heading, -1)
            if self.free(behind) and self.free(cell):
                before.append((behind, heading))
            for other in before:
                if other not in found:
                    found[other] = found[pose] + 1
                    queue.append(other)
        return found

    def reveals(self, pose: Pose, walls: bool = False) -> bool:
        """Whether a look from a pose not looked from before would show unknown cells next to known floor of its room.

        Cells in line with a door count only with `walls`: they are wall, as each side of a room has one door at most.
        """
        return pose not in self.looked and any(_in_window(pose, cell) for cell in self._edge(pose, walls))

    def _edge(self, pose: Pose, walls: bool) -> set[Place]:
        """The unknown cells next to the known floor of the room that a pose is in (from a doorway: the room ahead)."""
        cell, heading = pose
        starts = (cell,) if self.cells.get(cell) is None else (step(cell, heading), cell)
        if (starts, walls) not in self._edges:
            around = {(step(inside, side), side) for inside in self._open_floor(*starts) for side in range(4)}
            self._edges[starts, walls] = {
                cell for cell, side in around if cell not in self.cells and (walls or not self._beside_door(cell, side))
            }
        return self._edges[starts, walls]

    def _beside_door(self, cell: Place, side: int) -> bool:
        """Whether the line through a cell, square to `side`, meets a door before it meets open floor."""
        for along in ((side + 1) % 4, (side - 1) % 4):
            for steps in range(1, REACH + 1):
                other = step(cell, along, steps)
                if other in self.cells:
                    thing = self.cells[other]
                    if thing is not None and thing.kind == "door":
                        return True
                    if thing is None or thing.kind != "wall":
                        break
        return False

    def _open_floor(self, *starts: Place) -> Iterator[Place]:
        """The known cells of one room: from the given ones on, not passing walls and doors; also the starts where they are known."""
        seen = {cell for cell in starts if cell in self.cells}
        queue = deque(sorted(seen))
        first = set(seen)
        while queue:
            cell = queue.popleft()
            thing = self.cells[cell]
            if thing is not None and not thing.portable:
                if cell in first and thing.passable:  # standing in a doorway: the cell ahead is what can be learnt
                    yield cell
                continue
            yield cell
            for heading in range(4):
                other = step(cell, heading)
                if other in self.cells and other not in seen:
                    seen.add(other)
                    queue.append(other)

    def _first_room(self) -> set[Place]:
        inside = set(self._open_floor(self.start[0]))
        return inside | {step(cell, heading) for cell in inside for heading in range(4)}

    def _in_place(self, cell: Place, place: str, room: set[Place]) -> bool:
        ahead, right = relative(self.start, cell)
        return cell in room and {"left": right < 0, "right": right > 0, "front": ahead > 0, "behind": ahead < 0}[place]


def _in_window(pose: Pose, cell: Place) -> bool:
    ahead, right = relative(pose, cell)
    return 0 <= ahead <= REACH and abs(right) <= HALF
