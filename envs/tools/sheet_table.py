"""A spreadsheet: the operations behind the tools of the environment Sheet.

Invariant: a sheet never grows beyond MAX_ROWS and MAX_COLUMNS; an empty cell is "". Policies name cells in A1 notation and count rows and
columns from 1; indices here count from 0 unless a docstring says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from envs.tools.base import ToolError

Cell = str | int | float
MAX_ROWS, MAX_COLUMNS = 200, 50
_A1_PATTERN = re.compile(r"([A-Z]{1,2})([1-9][0-9]{0,3})")


@dataclass(slots=True)
class Table:
    """Rows of cells, which may differ in length. `frozen`: (dimension, number); `merged`: ranges; `notes`: by the name of the cell."""

    rows: list[list[Cell]]
    frozen: list[tuple[str, int]] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return max((len(row) for row in self.rows), default=0)

    def get(self, row: int, column: int) -> Cell:
        return self.rows[row][column] if row < len(self.rows) and column < len(self.rows[row]) else ""

    def set(self, row: int, column: int, value: Any) -> None:
        if row >= MAX_ROWS or column >= MAX_COLUMNS:
            raise ToolError(f"A sheet has at most {MAX_ROWS} rows and {MAX_COLUMNS} columns.")
        while len(self.rows) <= row:
            self.rows.append([])
        line = self.rows[row]
        line.extend([""] * (column + 1 - len(line)))
        line[column] = to_cell(value)

    def insert(self, dimension: str, lines: list[Any], at: int) -> None:
        """Insert rows or columns before number `at`, from 1."""
        if not all(isinstance(line, list) for line in lines) or not lines:
            raise ToolError("Give a list of lists of values, one for each line.")
        size = len(self.rows) if dimension == "rows" else self.width
        if not 1 <= at <= size + 1:
            raise ToolError(f"The place must be between 1 and {size + 1}.")
        if size + len(lines) > (MAX_ROWS if dimension == "rows" else MAX_COLUMNS) or max(map(len, lines)) > MAX_COLUMNS:
            raise ToolError("The sheet would become too large.")
        if dimension == "rows":
            self.rows[at - 1 : at - 1] = [[to_cell(value) for value in line] for line in lines]
            return
        for number, row in enumerate(self.rows):
            row.extend([""] * (at - 1 - len(row)))
            row[at - 1 : at - 1] = [to_cell(line[number]) if number < len(line) else "" for line in lines]

    def delete(self, dimension: str, numbers: list[int]) -> None:
        """Delete the rows or columns of these numbers, from 1."""
        removed = {number - 1 for number in numbers}
        if dimension == "rows":
            self.rows = [row for number, row in enumerate(self.rows) if number not in removed]
        else:
            self.rows = [[value for number, value in enumerate(row) if number not in removed] for row in self.rows]

    def sort(self, column: int, descending: bool) -> None:
        """Sort the rows below the first by a column: numbers before text."""
        header, body = self.rows[:1], self.rows[1:]

        def key(row: list[Cell]) -> tuple[bool, float, str]:
            value = row[column] if column < len(row) else ""
            return (isinstance(value, str), 0.0 if isinstance(value, str) else float(value), str(value))

        self.rows = header + sorted(body, key=key, reverse=descending)

    def trimmed(self) -> list[list[Cell]]:
        """The cells without empty cells at the end of rows and empty rows at the end."""
        rows = [list(row) for row in self.rows]
        for row in rows:
            while row and row[-1] == "":
                row.pop()
        while rows and not rows[-1]:
            rows.pop()
        return rows


def to_cell(value: Any) -> Cell:
    """A value as a cell stores it: text that looks like a number becomes one."""
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).upper()
    if isinstance(value, float):
        return int(value) if value == int(value) else round(value, 6)
    if isinstance(value, int):
        return value
    text = str(value).strip()[:200]
    if re.fullmatch(r"-?[0-9]{1,12}", text):
        return int(text)
    return to_cell(float(text)) if re.fullmatch(r"-?[0-9]{1,12}\.[0-9]{1,6}", text) else text


def parse_position(position: str) -> tuple[int, int]:
    """(row, column) of a cell such as B3. Raises ToolError."""
    match = _A1_PATTERN.fullmatch(position.strip().upper())
    if match is None:
        raise ToolError("A position looks like B3.")
    column = 0
    for letter in match[1]:
        column = column * 26 + ord(letter) - 64
    row, column = int(match[2]) - 1, column - 1
    if row >= MAX_ROWS or column >= MAX_COLUMNS:
        raise ToolError(f"A sheet has at most {MAX_ROWS} rows and {MAX_COLUMNS} columns.")
    return row, column


def cell_name(row: int, column: int) -> str:
    """The A1 name of a cell."""
    letters = chr(65 + column % 26)
    return f"{chr(64 + column // 26) + letters if column >= 26 else letters}{row + 1}"


def parse_range(start: str, end: str) -> tuple[int, int, int, int]:
    """(first row, last row, first column, last column) between two corners. Raises ToolError."""
    (row1, column1), (row2, column2) = parse_position(start), parse_position(end)
    return min(row1, row2), max(row1, row2), min(column1, column2), max(column1, column2)


def _product(values: list[float]) -> float:
    result = 1.0
    for value in values:
        result *= value
    return result


def _minus(values: list[float]) -> float:
    return values[0] - sum(values[1:])


FORMULAS: dict[str, Callable[[list[float]], float]] = {
    "SUM": sum,
    "AVERAGE": lambda values: sum(values) / len(values),
    "COUNT": len,
    "MAX": max,
    "MIN": min,
    "PRODUCT": _product,
    "MINUS": _minus,
}


def apply_formula(values: list[Cell], operator: str) -> Cell:
    """The result of an operator on the numbers among the values. Raises ToolError."""
    numbers = [float(value) for value in values if not isinstance(value, str)]
    function = FORMULAS.get(operator.strip().upper())
    if function is None:
        raise ToolError(f"The operators are {', '.join(FORMULAS)}.")
    if not numbers and function is not len:
        raise ToolError("There is no number among these cells.")
    result = function(numbers)
    if not abs(result) <= 1e15:  # also for NaN: infinity times 0
        raise ToolError("The result is too large.")
    return to_cell(float(result))


def similarity(table1: Table, table2: Table) -> float:
    """The share of equal cells, from 0 to 1, over the rows and columns that either table has."""
    rows1, rows2 = table1.trimmed(), table2.trimmed()
    height = max(len(rows1), len(rows2))
    width = max((len(row) for row in rows1 + rows2), default=0)
    if not height * width:
        return 1.0
    pairs = [(Table(rows1).get(row, column), Table(rows2).get(row, column)) for row in range(height) for column in range(width)]
    return sum(a == b for a, b in pairs) / len(pairs)
