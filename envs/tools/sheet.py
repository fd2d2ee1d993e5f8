"""Sheet: change a spreadsheet as instructed, with tools.

Invariant: an episode has its own sheets, and the reward depends on their state at `finish` alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from typing import Any, ClassVar, Literal

from envs.base import Sizes
from envs.tools.base import ToolEnv, ToolError, tool
from envs.tools.problem import Call, Problem
from envs.tools.sheet_problems import TEMPLATES
from envs.tools.sheet_table import Cell, Table, apply_formula, cell_name, parse_position, parse_range, similarity, to_cell

_MAX_POSITIONS = 400


class Sheet(ToolEnv):
    """Changes to a sheet, after AgentBoard's tool-operation tasks as AgentGym serves them.

    Observation: first the goal, then the result of each call, as JSON. Actions: one call per round, `name with Action Input: {...}`; the
    tools and their arguments are those of AgentGym's sheet environment. A sheet must be opened first. Reward, given at `finish`: the
    progress towards the target table, (similarity - initial similarity) / (1 - initial similarity), at least 0; the similarity of two
    tables is the share of equal cells over the rows and columns of either. Progress: the reward of the current sheet. Success: reward 1.
    At most 15 rounds. Instructions: 20, all eval: as in the paper, there is no expert data to train on.

    Differences from AgentGym's environment:
    - Sheets are objects of the episode, generated from a seed; AgentGym uses copies in a live service that needs an account.
    - The final state counts, with the cells that only one table has, and an unchanged sheet is worth 0; in AgentGym, the best step counts,
      only within the overlap of the two tables, and an unchanged sheet gets most of the reward.
    - Formulas are seven named operators; nothing is evaluated. Only a call of `finish` ends an episode.
    """

    name: ClassVar[str] = "sheet"
    version: ClassVar[int] = 2
    task_types: ClassVar[tuple[str, ...]] = ("sheet",)
    sizes: ClassVar[Sizes] = Sizes(instructions=20, eval=20, agent_traj=0, agent_traj_l=0)
    max_rounds: ClassVar[int] = 15
    intro: ClassVar[str] = "Change the sheet as asked, then finish. Cells are named like B3; rows and columns count from 1."

    sheets: dict[str, Table]
    target: Table
    """The sheet after the problem's solution."""
    _open_name: str | None

    @classmethod
    def problems(cls) -> tuple[Problem, ...]:
        return _problems()

    @classmethod
    def succeeded(cls, reward: float) -> bool:
        return reward >= 1.0

    def reset_state(self, problem: Problem) -> None:
        name, number = f"Sheet{problem.initial_state}", int(problem.initial_state)
        self.sheets, self._open_name, self._target_name = {name: deepcopy(_build_initial_table(number))}, None, name
        self._initial_table = _build_initial_table(number)

    def record_solved_state(self) -> None:
        self.target = self.sheets[self._target_name]

    def answer_reward(self, answer: Any) -> float:
        table = self.sheets.get(self._target_name, Table([]))
        initial, final = similarity(self._initial_table, self.target), similarity(table, self.target)
        if final == 1.0:
            return 1.0
        return max(0.0, (final - initial) / (1 - initial)) if initial < 1 else 0.0

    def measure_progress(self) -> float:
        """The reward that `finish` would give now; it counts as one more call than the solution's."""
        num_calls = len(self.solution)
        return self.answer_reward(None) * num_calls / (num_calls + 1)

    @tool
    def open_sheet(self, name: str) -> str:
        """open a sheet"""
        if name not in self.sheets:
            raise ToolError(f"There is no such sheet; there are: {', '.join(self.sheets) or 'none'}.")
        self._open_name = name
        return "The sheet is open."

    @tool
    def del_sheet(self, name: str) -> str:
        """delete a whole sheet"""
        if name not in self.sheets:
            raise ToolError("There is no such sheet.")
        del self.sheets[name]
        self._open_name = None if self._open_name == name else self._open_name
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
        return cell_name(row - 1, col - 1)

    @tool
    def insert_cols(self, values_list: list[Any], col_idx: int) -> str:
        """insert columns, each a list of values, before a column"""
        self._table.insert("columns", _as_lines(values_list), col_idx)
        return "Inserted."

    @tool
    def insert_rows(self, values_list: list[Any], row_idx: int) -> str:
        """insert rows, each a list of values, before a row"""
        self._table.insert("rows", _as_lines(values_list), row_idx)
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
        self._table.set(*parse_position(position), to_cell(value))
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
        value = apply_formula(self._values(start_position, end_position, position_list), operator)
        self._table.set(*parse_position(result_position), value)
        return f"The result is {value}."

    @tool
    def update_range(self, start_position: str, end_position: str, values_list: list[Any]) -> str:
        """write rows of values into a range"""
        row1, row2, column1, column2 = parse_range(start_position, end_position)
        lines = _as_lines(values_list)
        if len(lines) != row2 - row1 + 1 or any(len(line) != column2 - column1 + 1 for line in lines):
            raise ToolError(f"The range has {row2 - row1 + 1} rows and {column2 - column1 + 1} columns; give as many values.")
        for row_offset, line in enumerate(lines):
            for column_offset, value in enumerate(line):
                self._table.set(row1 + row_offset, column1 + column_offset, value)
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
        parse_range(start_position, end_position)
        self._table.merged.append(f"{start_position}:{end_position}")
        return "Merged."

    @tool
    def update_note(self, position: str, content: str) -> str:
        """put a note on a cell"""
        self._table.notes[cell_name(*parse_position(position))] = content[:200]
        return "Noted."

    @tool
    def get_all_values(self) -> list[list[Cell]]:
        """all cells, row by row"""
        return self._table.trimmed()

    @tool
    def get_range_values(self, start_position: str, end_position: str) -> list[list[Cell]]:
        """the cells of a range"""
        row1, row2, column1, column2 = parse_range(start_position, end_position)
        return [[self._table.get(row, column) for column in range(column1, column2 + 1)] for row in range(row1, row2 + 1)]

    @tool
    def get_cell_value(self, position: str) -> Cell:
        """one cell"""
        return self._table.get(*parse_position(position))

    @tool
    def get_value_by_formula(
        self,
        operator: str,
        start_position: str = "",
        end_position: str = "",
        position_list: list[Any] = [],  # noqa: B006
    ) -> Cell:
        """compute without writing"""
        return apply_formula(self._values(start_position, end_position, position_list), operator)

    @tool
    def filter_cells(self, query: str, in_row: int = 0, in_column: int = 0) -> list[str]:
        """the names of the cells that hold a text (in one row or column, where it is not 0)"""
        value = to_cell(query)
        return [
            cell_name(row, column)
            for row, line in enumerate(self._table.rows)
            for column, cell in enumerate(line)
            if cell == value and in_row in (0, row + 1) and in_column in (0, column + 1)
        ]

    @tool
    def get_note(self, position: str) -> str:
        """the note on a cell"""
        return self._table.notes.get(cell_name(*parse_position(position)), "")

    @tool
    def finish(self, answer: Any = "done") -> None:
        """say that the sheet is as it should be, which ends the task"""

    @property
    def _table(self) -> Table:
        if self._open_name is None:
            raise ToolError("No sheet is open; call open_sheet first.")
        return self.sheets[self._open_name]

    def _values(self, start: str, end: str, positions: list[Any]) -> list[Cell]:
        if positions:
            return [self._table.get(*parse_position(str(position))) for position in positions[:_MAX_POSITIONS]]
        row1, row2, column1, column2 = parse_range(start, end)
        return [self._table.get(row, column) for row in range(row1, row2 + 1) for column in range(column1, column2 + 1)]


def _dimension(text: str) -> Literal["rows", "columns"]:
    if text.strip().lower() in ("rows", "row"):
        return "rows"
    if text.strip().lower() in ("columns", "column", "cols"):
        return "columns"
    raise ToolError("The dimension is rows or columns.")


def _as_lines(values: list[Any]) -> list[list[Any]]:
    lines = values if values and all(isinstance(line, list) for line in values) else [values]
    return [list(line) for line in lines]


@lru_cache(maxsize=None)
def _build_initial_table(number: int) -> Table:
    """The initial table of a problem; an episode works on a copy."""
    return TEMPLATES[number % len(TEMPLATES)](random.Random(f"sheet {number}"))[1]


@lru_cache(maxsize=None)
def _problems() -> tuple[Problem, ...]:
    problems = []
    for number in range(Sheet.sizes.instructions):
        text, _, num_calls, solve = TEMPLATES[number % len(TEMPLATES)](random.Random(f"sheet {number}"))
        name = f"Sheet{number}"
        full_text = f"In the sheet {name}: {text}"
        problems.append(Problem(full_text, f"{num_calls} calls", _with_opening(name, solve), initial_state=str(number)))
    return tuple(problems)


def _with_opening(name: str, solve: Callable[[Call], Any]) -> Callable[[Call], str]:
    """The solution of a template, preceded by the call that opens the sheet."""

    def solve_with_opening(call: Call) -> str:
        call("First I open the sheet.", "open_sheet", name=name)
        solve(call)
        return "done"

    return solve_with_opening
