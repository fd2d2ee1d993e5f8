"""MAZE: find the goal of a maze that is never seen whole, from one's position and the walls around it.

The rules are LMRL-Gym's (arXiv 2311.18232), the maze is its "double T". Invariant: an item id names one (start, goal) pair, so the
same id has the same single shortest way.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

from envs.base import Expert, ExpertStuck, Instruction, Sizes, TextEnv, UnknownItem, split_off_eval, stable_order

Cell = tuple[int, int]

# Two T's whose stems end in the arms of a third: 26 free cells (a dot) in 10 rows of 13.
DOUBLE_T = (
    "#############",
    "#.....#.....#",
    "###.#####.###",
    "###.#####.###",
    "###.#####.###",
    "###.......###",
    "######.######",
    "######.######",
    "######.######",
    "#############",
)

# Also the order in which ways of equal length are preferred.
DIRECTIONS: dict[str, tuple[int, int]] = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
_BESIDE = {"up": "above you", "down": "below you", "left": "to your left", "right": "to your right"}

_ITEM = re.compile(r"maze_(0|[1-9][0-9]{0,8})")
_DIFFICULTIES = (("1-4", 4), ("5-9", 9), ("10-14", 14))


class Maze(TextEnv):
    """A walk to the goal, one cell a round.

    Item id: `maze_{start * n + goal}`, where start and goal number the n free cells of the maze from the top, row by row. Every pair of
    two cells that a way joins is valid; the instructions are 240 of those whose shortest way is 1 to 14 steps. In DOUBLE_T 18 steps
    separate the furthest cells, more than the round limit: such ids can be played but not solved.
    Observation: goal, position (row, column, counted from the top left) and walls. Reward: 1 on reaching the goal, which ends the
    episode. Another `layout` (strings of `.` for free and `#` for wall) makes another maze, with ids by the same formula.

    Differences from LMRL-Gym as AgentGym serves it: 240 instructions in place of 25 starts to one goal; an episode that does not reach the
    goal is cut at `max_rounds` with reward 0 (there: -1 and "Failure" after 50 steps); what is not a move is told so (there: the
    position is repeated without a word), and a move into a wall too.
    """

    name: ClassVar[str] = "maze"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("maze",)
    sizes: ClassVar[Sizes] = Sizes(instructions=240, eval=25, agent_traj=100, agent_traj_l=215)
    max_rounds: ClassVar[int] = 15
    prompt: ClassVar[str] = (
        "You are in a maze. Reach the goal in as few moves as you can. Each turn you are told where the goal is, where you are "
        "(row, column) and where there are walls. Moving down adds 1 to the row, moving right adds 1 to the column.\n"
        "Actions: move up, move down, move left, move right.\n"
        "Answer in this form:\nThought: ...\nAction: move ..."
    )

    def __init__(self, layout: Sequence[str] | None = None, render_mode: str | None = None) -> None:
        """Raises ValueError where `layout` has other characters than `.` and `#`, no two free cells, or fewer walls than enclose it."""
        super().__init__(render_mode)
        self.cells = free_cells(DOUBLE_T if layout is None else layout)
        self._free = frozenset(self.cells)
        self.position: Cell = self.cells[0]
        self.goal: Cell = self.cells[-1]

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    @classmethod
    def instruction(cls, item_id: str) -> Instruction:
        """Of any pair in DOUBLE_T, also one outside the 240. Raises UnknownItem."""
        start, goal = _pair(item_id, free_cells(DOUBLE_T))
        return _describe(item_id, start, goal, len(shortest_way(frozenset(free_cells(DOUBLE_T)), start, goal) or ()))

    def begin(self, item_id: str) -> str:
        start, goal = _pair(item_id, self.cells)
        if shortest_way(self._free, start, goal) is None:
            raise UnknownItem(f"maze has no instruction {item_id!r}: no way leads from {_at(start)} to {_at(goal)}; give another pair")
        self.position, self.goal = start, goal
        return self._look()

    def act(self, action: str) -> tuple[str, float, bool]:
        verb, _, direction = " ".join(action.lower().split()).partition(" ")
        if verb != "move" or direction not in DIRECTIONS:
            return f"That is not a move. Say: move up, move down, move left or move right. {self._look()}", 0.0, False
        ahead = _beside(self.position, direction)
        if ahead not in self._free:
            return f"There is a wall {_BESIDE[direction]}, you did not move. {self._look()}", 0.0, False
        self.position = ahead
        reached = ahead == self.goal
        return self._look() + (" You have reached the goal." if reached else ""), float(reached), reached

    def expert(self) -> Expert:
        return _ShortestWay(self)

    def available_actions(self) -> list[str] | None:
        """The moves that no wall stops."""
        return [f"move {direction}" for direction in DIRECTIONS if _beside(self.position, direction) in self._free]

    def way(self) -> list[str] | None:
        """The directions of a shortest way from here to the goal, the first of DIRECTIONS preferred; None where no way leads there."""
        return shortest_way(self._free, self.position, self.goal)

    def _look(self) -> str:
        walls = [_BESIDE[direction] for direction in DIRECTIONS if _beside(self.position, direction) not in self._free]
        told = f"There are walls {', '.join(walls)}." if walls else "There are no walls around you."
        return f"The goal is at position {_at(self.goal)}. Your current position is at position {_at(self.position)}. {told}"


class _ShortestWay:
    """Reads the live maze, so it finds the way from wherever the episode has got to."""

    def __init__(self, maze: Maze) -> None:
        self._maze = maze

    def act(self, observation: str) -> tuple[str, str]:
        way = self._maze.way()
        if not way:
            raise ExpertStuck(f"maze: no move is left from {_at(self._maze.position)} to {_at(self._maze.goal)}; reset() to another pair")
        thought = f"I am at {_at(self._maze.position)} and the goal is at {_at(self._maze.goal)}. The way leads {way[0]}."
        return thought, f"move {way[0]}"


def free_cells(layout: Sequence[str]) -> tuple[Cell, ...]:
    """The free cells (row, column) of a layout from the top, row by row. Raises ValueError where it is not a walled maze."""
    if len({len(row) for row in layout}) != 1 or not set("".join(layout)) <= {".", "#"}:
        raise ValueError(f"a maze is given as rows of equal length, '.' for free and '#' for wall, not {list(layout)!r}")
    cells = tuple((r, c) for r, row in enumerate(layout) for c, square in enumerate(row) if square == ".")
    if any(r in (0, len(layout) - 1) or c in (0, len(layout[0]) - 1) for r, c in cells):
        raise ValueError("a maze needs walls all around: make the first and last row and column '#'")
    if len(cells) < 2:
        raise ValueError(f"a maze needs two free cells at least, for a start and a goal; this one has {len(cells)}")
    return cells


def shortest_way(free: frozenset[Cell], start: Cell, goal: Cell) -> list[str] | None:
    """The directions of a shortest way (breadth first, the first of DIRECTIONS preferred), [] at the goal, None where there is no way."""
    steps_left = {goal: 0}
    queue = deque([goal])
    while queue:
        cell = queue.popleft()
        for direction in DIRECTIONS:
            near = _beside(cell, direction)
            if near in free and near not in steps_left:
                steps_left[near] = steps_left[cell] + 1
                queue.append(near)
    if start not in steps_left:
        return None
    way: list[str] = []
    while start != goal:
        direction = next(d for d in DIRECTIONS if steps_left.get(_beside(start, d)) == steps_left[start] - 1)
        way.append(direction)
        start = _beside(start, direction)
    return way


def _beside(cell: Cell, direction: str) -> Cell:
    down, right = DIRECTIONS[direction]
    return cell[0] + down, cell[1] + right


def _at(cell: Cell) -> str:
    return f"{cell[0]}, {cell[1]}"


def _pair(item_id: str, cells: tuple[Cell, ...]) -> tuple[Cell, Cell]:
    """(start, goal) of an id in a maze of these free cells. Raises UnknownItem."""
    found = _ITEM.fullmatch(item_id) if isinstance(item_id, str) else None
    start, goal = divmod(int(found[1]), len(cells)) if found else (len(cells), 0)
    if start >= len(cells) or start == goal:
        raise UnknownItem(
            f"maze has no instruction {item_id!r}; an id is maze_N, N = start * {len(cells)} + goal, with start and goal two different "
            f"ones of the {len(cells)} free cells (numbered from 0); see Maze.instructions(split)"
        )
    return cells[start], cells[goal]


def _describe(item_id: str, start: Cell, goal: Cell, steps: int) -> Instruction:
    difficulty = next((label for label, most in _DIFFICULTIES if steps <= most), "15+")
    return Instruction(item_id, Maze.name, "maze", difficulty, f"Go from position {_at(start)} to position {_at(goal)}.")


@lru_cache(maxsize=1)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    """240 pairs of cells of the double T, chosen by a hash of their ids."""
    cells = free_cells(DOUBLE_T)
    free = frozenset(cells)
    pairs = []
    for number in range(len(cells) ** 2):
        start, goal = (cells[index] for index in divmod(number, len(cells)))
        steps = len(shortest_way(free, start, goal) or ())
        if 1 <= steps <= _DIFFICULTIES[-1][1]:
            pairs.append(_describe(f"maze_{number}", start, goal, steps))
    chosen = stable_order(pairs, "instructions")[: Maze.sizes.instructions]
    labels = [label for label, _ in _DIFFICULTIES]
    by_number = sorted(chosen, key=lambda item: int(item.item_id.removeprefix("maze_")))
    return split_off_eval(by_number, Maze.sizes.eval, salt="instructions", key=lambda item: labels.index(item.difficulty), middle=False)
