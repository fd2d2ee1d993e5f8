"""MAZE: find the goal of a maze from your position and the walls around you; the maze is never shown whole.

The rules are LMRL-Gym's (arXiv 2311.18232), the maze is its "double T". Invariant: an item id stands for one (start, goal) pair, so the
same id has the same shortest path.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

from envs.base import Expert, ExpertStuck, Instruction, Sizes, TextEnv, UnknownItem, split_off_eval, stable_order
from envs.functions import Function, function

Cell = tuple[int, int]
"""(row, column)"""

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

# The order matters: among paths of equal length, the one with the earlier direction is taken.
DIRECTIONS: dict[str, tuple[int, int]] = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
_WALL_SIDES = {"up": "above you", "down": "below you", "left": "to your left", "right": "to your right"}

_ITEM_ID = re.compile(r"maze_(0|[1-9][0-9]{0,8})")
_DIFFICULTIES = (("1-4", 4), ("5-9", 9), ("10-14", 14))


class Maze(TextEnv):
    """Move to the goal, one cell per round.

    Item id: `maze_{start * n + goal}`, where start and goal are numbers of the n free cells of the maze, counted from the top, row by row.
    Every pair of different cells with a path between them is valid; the instructions are 240 of those whose shortest path is 1 to 14 steps.
    In DOUBLE_T the shortest path can be 18 steps, more than the round limit: such ids can be played but not solved. Observation: goal,
    position (row, column, counted from the top left) and walls. Reward: 1 on reaching the goal, which ends the episode. Progress: the share
    of the shortest path that has been walked. Another `layout` (strings of `.` for a free cell and `#` for a wall) defines another maze,
    with ids by the same formula.

    AgentGym's 25 starts are among the pairs (envs.protocols.agentgym.MAZE_STARTS has its order); the expert solves all of them on its
    server.

    Differences from LMRL-Gym as AgentGym serves it: 240 instructions instead of 25 starts with one goal; an episode that does not reach the
    goal is truncated at `max_rounds` with reward 0 (AgentGym: -1 and "Failure" after 50 steps); the observation says when the action is
    not a move or leads into a wall (AgentGym: it only repeats the position).
    """

    name: ClassVar[str] = "maze"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("maze",)
    sizes: ClassVar[Sizes] = Sizes(instructions=240, eval=25, agent_traj=100, agent_traj_l=215)
    max_rounds: ClassVar[int] = 15
    functions: ClassVar[tuple[Function, ...]] = (
        function("Move one cell.", "move {direction}", choices={"direction": ("up", "down", "left", "right")}),
    )
    prompt: ClassVar[str] = (
        "You are in a maze. Reach the goal in as few moves as you can. Each turn you are told where the goal is, where you are "
        "(row, column) and where there are walls. Moving down adds 1 to the row, moving right adds 1 to the column.\n"
        "Actions: move up, move down, move left, move right.\n"
        "Answer in this form:\nThought: ...\nAction: move ..."
    )

    def __init__(self, layout: Sequence[str] | None = None, render_mode: str | None = None) -> None:
        """Raises ValueError if `layout` has characters other than `.` and `#`, fewer than two free cells, or no walls all around."""
        super().__init__(render_mode)
        self.cells = free_cells(DOUBLE_T if layout is None else layout)
        self._free = frozenset(self.cells)
        self.position: Cell = self.cells[0]
        self.goal: Cell = self.cells[-1]
        self._start_distance = 0

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    @classmethod
    def instruction(cls, item_id: str) -> Instruction:
        """The instruction of any pair in DOUBLE_T, also of one outside the 240. Raises UnknownItem."""
        start, goal = _start_and_goal(item_id, free_cells(DOUBLE_T))
        return _instruction(item_id, start, goal, len(shortest_path(frozenset(free_cells(DOUBLE_T)), start, goal) or ()))

    def begin(self, item_id: str) -> str:
        start, goal = _start_and_goal(item_id, self.cells)
        path = shortest_path(self._free, start, goal)
        if path is None:
            raise UnknownItem(f"maze has no instruction {item_id!r}: no path leads from {_text(start)} to {_text(goal)}; give another pair")
        self.position, self.goal, self._start_distance = start, goal, len(path)
        return self._observation_text()

    def act(self, action: str) -> tuple[str, float, bool]:
        verb, _, direction = " ".join(action.lower().split()).partition(" ")
        if verb != "move" or direction not in DIRECTIONS:
            return f"That is not a move. Say: move up, move down, move left or move right. {self._observation_text()}", 0.0, False
        target = _neighbor(self.position, direction)
        if target not in self._free:
            return f"There is a wall {_WALL_SIDES[direction]}, you did not move. {self._observation_text()}", 0.0, False
        self.position = target
        reached = target == self.goal
        return self._observation_text() + (" You have reached the goal." if reached else ""), float(reached), reached

    def expert(self) -> Expert:
        return _ShortestPathExpert(self)

    def measure_progress(self) -> float:
        """The share of the shortest path that is behind, 0 in a cell that is farther from the goal than the start."""
        return max(0.0, 1 - len(self.path_to_goal() or ()) / self._start_distance)

    def available_actions(self) -> list[str] | None:
        """The moves that no wall blocks."""
        return [f"move {direction}" for direction in DIRECTIONS if _neighbor(self.position, direction) in self._free]

    def path_to_goal(self) -> list[str] | None:
        """The directions of the shortest path from the position to the goal (see `shortest_path`)."""
        return shortest_path(self._free, self.position, self.goal)

    def _observation_text(self) -> str:
        walls = [_WALL_SIDES[direction] for direction in DIRECTIONS if _neighbor(self.position, direction) not in self._free]
        walls_text = f"There are walls {', '.join(walls)}." if walls else "There are no walls around you."
        return f"The goal is at position {_text(self.goal)}. Your current position is at position {_text(self.position)}. {walls_text}"


class _ShortestPathExpert:
    """Takes the shortest path from the present position, so it can take over any episode."""

    def __init__(self, maze: Maze) -> None:
        self._maze = maze

    def act(self, observation: str) -> tuple[str, str]:
        position, goal, path = _text(self._maze.position), _text(self._maze.goal), self._maze.path_to_goal()
        if not path:
            raise ExpertStuck(f"maze: no move is left from {position} to {goal}; reset() to another pair")
        return f"I am at {position} and the goal is at {goal}. The way leads {path[0]}.", f"move {path[0]}"


def free_cells(layout: Sequence[str]) -> tuple[Cell, ...]:
    """The free cells of a layout from the top, row by row. Raises ValueError if it is not a maze with walls all around."""
    if len({len(row) for row in layout}) != 1 or not set("".join(layout)) <= {".", "#"}:
        raise ValueError(f"a maze must be rows of equal length, '.' for a free cell and '#' for a wall, not {list(layout)!r}")
    cells = tuple((r, c) for r, row in enumerate(layout) for c, char in enumerate(row) if char == ".")
    if any(r in (0, len(layout) - 1) or c in (0, len(layout[0]) - 1) for r, c in cells):
        raise ValueError("a maze needs walls all around; make the first and last row and column '#'")
    if len(cells) < 2:
        raise ValueError(f"a maze needs at least two free cells, for a start and a goal; this one has {len(cells)}")
    return cells


def shortest_path(free: frozenset[Cell], start: Cell, goal: Cell) -> list[str] | None:
    """The directions of the shortest path (earlier DIRECTIONS preferred); [] at the goal, None if there is no path."""
    steps_left = {goal: 0}
    queue = deque([goal])
    while queue:
        cell = queue.popleft()
        for direction in DIRECTIONS:
            neighbor = _neighbor(cell, direction)
            if neighbor in free and neighbor not in steps_left:
                steps_left[neighbor] = steps_left[cell] + 1
                queue.append(neighbor)
    if start not in steps_left:
        return None
    path: list[str] = []
    while start != goal:
        direction = next(d for d in DIRECTIONS if steps_left.get(_neighbor(start, d)) == steps_left[start] - 1)
        path.append(direction)
        start = _neighbor(start, direction)
    return path


def _neighbor(cell: Cell, direction: str) -> Cell:
    down, right = DIRECTIONS[direction]
    return cell[0] + down, cell[1] + right


def _text(cell: Cell) -> str:
    return f"{cell[0]}, {cell[1]}"


def _start_and_goal(item_id: str, cells: tuple[Cell, ...]) -> tuple[Cell, Cell]:
    """The (start, goal) of an id in a maze with these free cells. Raises UnknownItem."""
    match = _ITEM_ID.fullmatch(item_id) if isinstance(item_id, str) else None
    start, goal = divmod(int(match[1]), len(cells)) if match else (len(cells), 0)
    if start >= len(cells) or start == goal:
        raise UnknownItem(
            f"maze has no instruction {item_id!r}; an id is maze_N, N = start * {len(cells)} + goal, where start and goal are "
            f"two different ones of the {len(cells)} free cells (numbered from 0); see Maze.instructions(split)"
        )
    return cells[start], cells[goal]


def _instruction(item_id: str, start: Cell, goal: Cell, steps: int) -> Instruction:
    difficulty = next((label for label, most in _DIFFICULTIES if steps <= most), "15+")
    return Instruction(item_id, Maze.name, "maze", difficulty, f"Go from position {_text(start)} to position {_text(goal)}.")


@lru_cache(maxsize=1)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    """240 pairs of cells of the double T, chosen by a hash of their ids."""
    cells = free_cells(DOUBLE_T)
    free = frozenset(cells)
    pairs = []
    for number in range(len(cells) ** 2):
        start, goal = (cells[index] for index in divmod(number, len(cells)))
        steps = len(shortest_path(free, start, goal) or ())
        if 1 <= steps <= _DIFFICULTIES[-1][1]:
            pairs.append(_instruction(f"maze_{number}", start, goal, steps))
    chosen = stable_order(pairs, "instructions")[: Maze.sizes.instructions]
    labels = [label for label, _ in _DIFFICULTIES]
    by_number = sorted(chosen, key=lambda item: int(item.item_id.removeprefix("maze_")))
    return split_off_eval(by_number, Maze.sizes.eval, salt="instructions", key=lambda item: labels.index(item.difficulty), middle=False)
