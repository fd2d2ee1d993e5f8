"""A sheet of cells: what the tools of the environment Sheet do, without text and without rewards.

Invariant: cells are named in A1 notation, rows and columns count from 1, an empty cell is "", and a sheet never grows beyond its bounds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from envs.tools.base import ToolError

Cell = str | int | float
MOST_ROWS, MOST_COLUMNS = 200, 50
_A1 = re.compile(r"([A-Z]{1,2})([1-9][0-9]{0,3})")


@dataclass(slots=True)
class Table:
    """Rows of cells of equal length; `frozen` (dimension, number), `merged` ranges and `notes` by cell are kept beside them."""

    rows: list[list[Cell]]
    frozen: list[tuple[str, int]] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return max((len(row) for row in self.rows), default=0)

    def get(self, row: int, column: int) -> Cell:
        return self.rows[row][column] if row < len(self.rows) and column < len(self.rows[row]) else ""

    def put(self, row: int, column: int, value: Any) -> None:
        if row >= MOST_ROWS or column >= MOST_COLUMNS:
            raise ToolError(f"A sheet has at most {MOST_ROWS} rows and {MOST_COLUMNS} columns.")
        while len(self.rows) <= row:
            self.rows.append([])
        line = self.rows[row]
        line.extend([""] * (column + 1 - len(line)))
        line[column] = cell(value)

    def insert(self, dimension: str, lines: list[Any], at: int) -> None:
        """Lines before the one of number `at` (from 1)."""
        if not all(isinstance(line, list) for line in lines) or not lines:
            raise ToolError("Give a list of lists of values, one for each line.")
        size = len(self.rows) if dimension == "rows" else self.width
        if not 1 <= at <= size + 1:
            raise ToolError(f"The place must be between 1 and {size + 1}.")
        if size + len(lines) > (MOST_ROWS if dimension == "rows" else MOST_COLUMNS) or max(map(len, lines)) > MOST_COLUMNS:
            raise ToolError("The sheet would become too large.")
        if dimension == "rows":
            self.rows[at - 1 : at - 1] = [[cell(value) for value in line] for line in lines]
            return
        for number, row in enumerate(self.rows):
            row.extend([""] * (at - 1 - len(row)))
            row[at - 1 : at - 1] = [cell(line[number]) if number < len(line) else "" for line in lines]

    def delete(self, dimension: str, numbers: list[int]) -> None:
        gone = {number - 1 for number in numbers}
        if dimension == "rows":
            self.rows = [row for number, row in enumerate(self.rows) if number not in gone]
        else:
            self.rows = [[value for number, value in enumerate(row) if number not in gone] for row in self.rows]

    def sort(self, column: int, descending: bool) -> None:
        """The rows below the first one, by a column (from 0): numbers before text."""
        head, body = self.rows[:1], self.rows[1:]

        def key(row: list[Cell]) -> tuple[bool, float, str]:
            value = row[column] if column < len(row) else ""
            return (isinstance(value, str), 0.0 if isinstance(value, str) else float(value), str(value))

        self.rows = head + sorted(body, key=key, reverse=descending)

    def trimmed(self) -> list[list[Cell]]:
        """The cells without empty ends."""
        rows = [list(row) for row in self.rows]
        for row in rows:
            while row and row[-1] == "":
                row.pop()
        while rows and not rows[-1]:
            rows.pop()
        return rows


def cell(value: Any) -> Cell:
    """A value as a cell holds it: text that is a number becomes one."""
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).upper()
    if isinstance(value, float):
        return int(value) if value == int(value) else round(value, 6)
    if isinstance(value, int):
        return value
    text = str(value).strip()[:200]
    if re.fullmatch(r"-?[0-9]{1,12}", text):
        return int(text)
    return cell(float(text)) if re.fullmatch(r"-?[0-9]{1,12}\.[0-9]{1,6}", text) else text


def place(position: str) -> tuple[int, int]:
    """(row, column) from 0 of a cell such as B3."""
    found = _A1.fullmatch(position.strip().upper())
    if found is None:
        raise ToolError("A position looks like B3.")
    column = 0
    for letter in found[1]:
        column = column * 26 + ord(letter) - 64
    row, column = int(found[2]) - 1, column - 1
    if row >= MOST_ROWS or column >= MOST_COLUMNS:
        raise ToolError(f"A sheet has at most {MOST_ROWS} rows and {MOST_COLUMNS} columns.")
    return row, column


def name_of(row: int, column: int) -> str:
    """The A1 name of (row, column) from 0."""
    letters = chr(65 + column % 26)
    return f"{chr(64 + column // 26) + letters if column >= 26 else letters}{row + 1}"


def area(start: str, end: str) -> tuple[int, int, int, int]:
    """First row, last row, first column, last column, from 0."""
    (row1, column1), (row2, column2) = place(start), place(end)
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


def formula(values: list[Cell], operator: str) -> Cell:
    """What an operator makes of the numbers among the values."""
    numbers = [float(value) for value in values if not isinstance(value, str)]
    found = FORMULAS.get(operator.strip().upper())
    if found is None:
        raise ToolError(f"The operators are {', '.join(FORMULAS)}.")
    if not numbers and found is not len:
        raise ToolError("There is no number among these cells.")
    result = found(numbers)
    if abs(result) > 1e15:
        raise ToolError("The result is too large.")
    return cell(float(result))


def likeness(one: Table, other: Table) -> float:
    """The share of equal cells, over the rows and columns that either has."""
    left, right = one.trimmed(), other.trimmed()
    height = max(len(left), len(right))
    width = max((len(row) for row in left + right), default=0)
    if not height * width:
        return 1.0
    pairs = [(Table(left).get(row, column), Table(right).get(row, column)) for row in range(height) for column in range(width)]
    return sum(a == b for a, b in pairs) / len(pairs)
