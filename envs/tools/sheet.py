"""Sheet: change a table of cells as asked, with tools.

Invariant: an episode has its own sheets; only how they are at `finish` counts.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from typing import Any, ClassVar, Literal

from envs.base import Sizes
from envs.tools.base import Problem, ToolEnv, ToolError, tool
from envs.tools.sheet_problems import TEMPLATES
from envs.tools.sheet_table import Cell, Table, area, cell, formula, likeness, name_of, place

_LONGEST_LIST = 400


class Sheet(ToolEnv):
    """Changes to a sheet, after AgentBoard's tool-operation tasks as AgentGym serves them.

    Observation: the goal first, then what each tool gave, as JSON. Actions: one call a round, `name with Action Input: {...}`; the tools
    and their arguments are those of AgentGym's sheet environment. A sheet must be opened first. Reward, given at `finish`: how much of the
    way the cells are to what they should be, (likeness - likeness at the start) / (1 - likeness at the start), not below 0; likeness is the
    share of equal cells over the rows and columns that either table has. Success: 1. At most 15 rounds. Instructions: 20, all eval, as in
    the paper: there is no expert data to learn from.

    Where it differs from AgentGym's, and why:
    - Sheets are objects of the episode, made from a seed; there, copies in a live service that needs an account.
    - The cells count as they are at the end and beyond the overlap, and an untouched sheet is worth 0; there, the best step counts, only
      within the overlap of the two tables, and doing nothing is worth most of the reward.
    - Formulas are seven named operators; nothing is evaluated. Only the call of `finish` ends an episode.
    """

    name: ClassVar[str] = "sheet"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("sheet",)
    sizes: ClassVar[Sizes] = Sizes(instructions=20, eval=20, agent_traj=0, agent_traj_l=0)
    max_rounds: ClassVar[int] = 15
    intro: ClassVar[str] = "Change the sheet as asked, then finish. Cells are named like B3; rows and columns count from 1."

    sheets: dict[str, Table]
    wanted: Table
    _opened: str | None

    @classmethod
    def problems(cls) -> tuple[Problem, ...]:
        return _problems()

    @classmethod
    def succeeded(cls, reward: float) -> bool:
        return reward >= 1.0

    def prepare(self, problem: Problem) -> None:
        name, _, number = problem.home.partition(" ")
        self.sheets, self._opened, self._target = {name: deepcopy(start(name, int(number)))}, None, name
        self._start = start(name, int(number))

    def solved(self) -> None:
        self.wanted = self.sheets[self._target]

    def judge(self, answer: Any) -> float:
        found = self.sheets.get(self._target, Table([]))
        before, now = likeness(self._start, self.wanted), likeness(found, self.wanted)
        if now == 1.0:
            return 1.0
        return max(0.0, (now - before) / (1 - before)) if before < 1 else 0.0

    @tool
    def open_sheet(self, name: str) -> str:
        """open a sheet"""
        if name not in self.sheets:
            raise ToolError(f"There is no such sheet; there are: {', '.join(self.sheets) or 'none'}.")
        self._opened = name
        return "The sheet is open."

    @tool
    def del_sheet(self, name: str) -> str:
        """delete a whole sheet"""
        if name not in self.sheets:
            raise ToolError("There is no such sheet.")
        del self.sheets[name]
        self._opened = None if self._opened == name else self._opened
        return "The sheet is deleted."

    @tool
    def freeze_data(self, dimension: str, num: int) -> str:
        """keep the first rows or columns in view (dimension: rows or columns)"""
        self._table.frozen.append((_dimension(dimension), max(0, min(num, 50))))
        return "Frozen."

    @tool
    def get_A1_annotation(self, row: int, col: int) -> str:
        """the name of a cell"""
        if not (1 <= row <= 200 and 1 <= col <= 50):
            raise ToolError("Rows and columns count from 1.")
        return name_of(row - 1, col - 1)

    @tool
    def insert_cols(self, values_list: list[Any], col_idx: int) -> str:
        """insert columns, each a list of values, before a column"""
        self._table.insert("columns", _lines(values_list), col_idx)
        return "Inserted."

    @tool
    def insert_rows(self, values_list: list[Any], row_idx: int) -> str:
        """insert rows, each a list of values, before a row"""
        self._table.insert("rows", _lines(values_list), row_idx)
        return "Inserted."

    @tool
    def delete_batch_data(self, dimension: str, index_list: list[Any]) -> str:
        """delete rows or columns by their numbers"""
        if not all(isinstance(number, int) for number in index_list):
            raise ToolError("Give whole numbers.")
        self._table.delete(_dimension(dimension), index_list)
        return "Deleted."

    @tool
    def update_cell(self, position: str, value: Any) -> str:
        """write a value into a cell"""
        self._table.put(*place(position), cell(value))
        return "Updated."

    @tool
    def update_cell_by_formula(
        self,
        operator: str,
        result_position: str,
        start_position: str = "",
        end_position: str = "",
        position_list: list[Any] = [],  # noqa: B006
    ) -> str:
        """write SUM, AVERAGE, COUNT, MAX, MIN, PRODUCT or MINUS of a range or of single cells into a cell"""
        value = formula(self._values(start_position, end_position, position_list), operator)
        self._table.put(*place(result_position), value)
        return f"The result is {value}."

    @tool
    def update_range(self, start_position: str, end_position: str, values_list: list[Any]) -> str:
        """write rows of values into a range"""
        row1, row2, column1, column2 = area(start_position, end_position)
        lines = _lines(values_list)
        if len(lines) != row2 - row1 + 1 or any(len(line) != column2 - column1 + 1 for line in lines):
            raise ToolError(f"The range has {row2 - row1 + 1} rows and {column2 - column1 + 1} columns; give as many values.")
        for down, line in enumerate(lines):
            for right, value in enumerate(line):
                self._table.put(row1 + down, column1 + right, value)
        return "Updated."

    @tool
    def sort_sheet_by_col(self, col_num: int, order: str) -> str:
        """sort the rows below the first by a column (order: asc or des)"""
        if not 1 <= col_num <= 50 or order.lower() not in ("asc", "des", "desc"):
            raise ToolError("Columns count from 1; the order is asc or des.")
        self._table.sort(col_num - 1, order.lower() != "asc")
        return "Sorted."

    @tool
    def merge_cells(self, start_position: str, end_position: str) -> str:
        """make one cell of a range"""
        area(start_position, end_position)
        self._table.merged.append(f"{start_position}:{end_position}")
        return "Merged."

    @tool
    def update_note(self, position: str, content: str) -> str:
        """put a note on a cell"""
        self._table.notes[name_of(*place(position))] = content[:200]
        return "Noted."

    @tool
    def get_all_values(self) -> list[list[Cell]]:
        """all cells, row by row"""
        return self._table.trimmed()

    @tool
    def get_range_values(self, start_position: str, end_position: str) -> list[list[Cell]]:
        """the cells of a range"""
        row1, row2, column1, column2 = area(start_position, end_position)
        return [[self._table.get(row, column) for column in range(column1, column2 + 1)] for row in range(row1, row2 + 1)]

    @tool
    def get_cell_value(self, position: str) -> Cell:
        """one cell"""
        return self._table.get(*place(position))

    @tool
    def get_value_by_formula(
        self,
        operator: str,
        start_position: str = "",
        end_position: str = "",
        position_list: list[Any] = [],  # noqa: B006
    ) -> Cell:
        """compute without writing"""
        return formula(self._values(start_position, end_position, position_list), operator)

    @tool
    def filter_cells(self, query: str, in_row: int = 0, in_column: int = 0) -> list[str]:
        """the names of the cells that hold a text (in one row or column, where it is not 0)"""
        wanted = cell(query)
        return [
            name_of(row, column)
            for row, line in enumerate(self._table.rows)
            for column, value in enumerate(line)
            if value == wanted and in_row in (0, row + 1) and in_column in (0, column + 1)
        ]

    @tool
    def get_note(self, position: str) -> str:
        """the note on a cell"""
        return self._table.notes.get(name_of(*place(position)), "")

    @tool
    def finish(self, answer: Any = "done") -> None:
        """say that the sheet is as it should be, which ends the task"""

    @property
    def _table(self) -> Table:
        if self._opened is None:
            raise ToolError("No sheet is open; call open_sheet first.")
        return self.sheets[self._opened]

    def _values(self, start: str, end: str, positions: list[Any]) -> list[Cell]:
        if positions:
            return [self._table.get(*place(str(position))) for position in positions[:_LONGEST_LIST]]
        row1, row2, column1, column2 = area(start, end)
        return [self._table.get(row, column) for row in range(row1, row2 + 1) for column in range(column1, column2 + 1)]


def _dimension(text: str) -> Literal["rows", "columns"]:
    if text.strip().lower() in ("rows", "row"):
        return "rows"
    if text.strip().lower() in ("columns", "column", "cols"):
        return "columns"
    raise ToolError("The dimension is rows or columns.")


def _lines(values: list[Any]) -> list[list[Any]]:
    lines = values if values and all(isinstance(line, list) for line in values) else [values]
    return [list(line) for line in lines]


@lru_cache(maxsize=None)
def start(name: str, number: int) -> Table:
    """The sheet of a problem before anything is done: a copy is what an episode works on."""
    return TEMPLATES[number % len(TEMPLATES)](random.Random(f"sheet {number}"))[1]


@lru_cache(maxsize=None)
def _problems() -> tuple[Problem, ...]:
    problems = []
    for number in range(Sheet.sizes.instructions):
        text, _, calls, solve = TEMPLATES[number % len(TEMPLATES)](random.Random(f"sheet {number}"))
        name = f"Sheet{number}"
        problems.append(Problem(f"In the sheet {name}: {text}", f"{calls} calls", _opening(name, solve), home=f"{name} {number}"))
    return tuple(problems)


def _opening(name: str, solve: Callable[..., Any]) -> Callable[..., Any]:
    def whole(call: Callable[..., Any]) -> str:
        call("First I open the sheet.", "open_sheet", name=name)
        solve(call)
        return "done"

    return whole
