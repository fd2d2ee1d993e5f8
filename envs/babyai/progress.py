"""Progress of a BabyAI mission: how far each of its subgoals has come, by the cells that the agent still has to walk.

Invariant: it reads minigrid's grid and the flags of its verifier, changes neither, and draws nothing at random. No observation shows it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from minigrid.envs.babyai.core import verifier

from envs.babyai.geometry import Cell, neighbor

_Distances = dict[Cell, int]
"""The cells to walk to a target, for every cell of the grid that is no wall; 0 in the target's own cell."""


class MissionProgress:
    """The progress of one episode's mission, from its start.

    The progress is the mean over the mission's subgoals (go to, pick up, open, put next to). One that is done counts 1, one whose turn has
    not come 0, any other the share of its walk that is behind: `1 - cells left / cells left at the start`, at least 0. A walk leads through
    the key of the first locked door on its way. Turns, closed doors and objects in the way do not count: the true walk may be longer.
    """

    def __init__(self, minigrid_env: Any) -> None:
        self._env = minigrid_env
        self._distances: dict[frozenset[Cell], _Distances] = {}
        self._subgoals = list(_subgoals(minigrid_env.instrs))
        self._cells_at_start = [self._cells_left(subgoal) for subgoal in self._subgoals]

    def measure(self) -> float:
        """The progress in the present state; below 1 as long as a subgoal is not done."""
        done, open_ids = {}, set()
        for subgoal, is_done, is_open in _states(self._env.instrs):
            done[id(subgoal)] = is_done
            if is_open:
                open_ids.add(id(subgoal))
        shares = 0.0
        for subgoal, at_start in zip(self._subgoals, self._cells_at_start, strict=True):
            if done[id(subgoal)]:
                shares += 1
            elif id(subgoal) in open_ids:
                shares += max(0.0, 1 - self._cells_left(subgoal) / at_start)
        return shares / len(self._subgoals)

    def _cells_left(self, subgoal: Any) -> int:
        """The cells to walk to the subgoal, at least 1 because it is not done."""
        position = _cell(self._env.agent_pos)
        if not isinstance(subgoal, verifier.PutNextInstr):
            opens = isinstance(subgoal, verifier.OpenInstr)
            return max(1, self._walk(position, self._cells_of(subgoal.desc), opens=opens)[0])
        fixed = self._cells_of(subgoal.desc_fixed)
        if any(self._env.carrying is candidate for candidate in subgoal.desc_move.obj_set):
            return max(1, self._walk(position, fixed)[0])
        to_object, end = self._walk(position, self._cells_of(subgoal.desc_move))
        return max(1, to_object + 1 + self._walk(end, fixed)[0])

    def _walk(
        self, start: Cell, targets: frozenset[Cell], passed: frozenset[Cell] = frozenset(), *, opens: bool = False
    ) -> tuple[int, Cell]:
        """(cells to walk from `start` to the nearest target, that target).

        `passed`: the locked doors that the walk opens before. `opens`: the target is a door to be opened, so that it needs its key too.
        """
        distances = self._distances_to(targets)
        if start not in distances:
            return len(distances), start  # nothing leads there, as to an object in hand
        cell = start
        while distances[cell]:
            cell = min((neighbor(cell, heading) for heading in range(4)), key=lambda after: distances.get(after, len(distances)))
            door = self._env.grid.get(*cell)
            if (distances[cell] or opens) and cell not in passed and door is not None and door.type == "door" and door.is_locked:
                keys = self._key_cells(door.color)
                if not keys:
                    continue  # the key is in hand: the door opens on the way
                passed |= {cell}
                to_key, key = self._walk(start, keys, passed)
                to_door, _ = self._walk(key, frozenset({cell}), passed)
                from_door, end = self._walk(cell, targets, passed)
                return to_key + to_door + from_door, end
        return distances[start], cell

    def _key_cells(self, color: str) -> frozenset[Cell]:
        """The cells of the keys of a color, also of those in boxes; none if the agent carries one."""
        carrying = self._env.carrying
        if carrying is not None and (carrying.type, carrying.color) == ("key", color):
            return frozenset()
        grid = self._env.grid
        cells = []
        for index, item in enumerate(grid.grid):
            inside = item.contains if item is not None and item.type == "box" else item
            if inside is not None and (inside.type, inside.color) == ("key", color):
                cells.append((index % grid.width, index // grid.width))
        return frozenset(cells)

    def _cells_of(self, description: Any) -> frozenset[Cell]:
        """The cells of the objects that the mission means; the agent's own cell for one in hand.

        minigrid also counts the walls among the grey objects; only they have no position of their own.
        """
        carrying, position = self._env.carrying, _cell(self._env.agent_pos)
        candidates = (candidate for candidate in description.obj_set if candidate.cur_pos is not None)
        return frozenset(position if candidate is carrying else _cell(candidate.cur_pos) for candidate in candidates)

    def _distances_to(self, targets: frozenset[Cell]) -> _Distances:
        """Walls never change, and doors and objects do not block: the distances depend on the targets alone."""
        if targets not in self._distances:
            grid = self._env.grid
            distances = dict.fromkeys(sorted(targets), 0)
            queue = deque(distances)
            while queue:
                cell = queue.popleft()
                for heading in range(4):
                    after = neighbor(cell, heading)
                    if after in distances or not (0 <= after[0] < grid.width and 0 <= after[1] < grid.height):
                        continue
                    content = grid.get(*after)
                    if content is None or content.type != "wall":
                        distances[after] = distances[cell] + 1
                        queue.append(after)
            self._distances[targets] = distances
        return self._distances[targets]


def _cell(position: Any) -> Cell:
    return int(position[0]), int(position[1])


def _subgoals(instruction: Any) -> Iterator[Any]:
    return (subgoal for subgoal, _, _ in _states(instruction))


def _states(instruction: Any, is_done: bool = False, is_open: bool = True) -> Iterator[tuple[Any, bool, bool]]:
    """(subgoal, whether it is done, whether its turn has come) for every subgoal of an instruction of minigrid."""
    if not isinstance(instruction, verifier.SeqInstr):
        yield instruction, is_done, is_open
        return
    a_done, b_done = is_done or instruction.a_done == "success", is_done or instruction.b_done == "success"
    a_open = is_open and (b_done or not isinstance(instruction, verifier.AfterInstr))
    b_open = is_open and (a_done or not isinstance(instruction, verifier.BeforeInstr))
    yield from _states(instruction.instr_a, a_done, a_open)
    yield from _states(instruction.instr_b, b_done, b_open)
