"""The templates of Sheet's problems: a table, what is to be done with it, and the calls that do it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from envs.tools.sheet_table import Cell, Table, name_of

Call = Callable[..., Any]
Made = tuple[str, Table, int, Callable[[Call], Any]]
_ITEMS = "lamp,chair,kettle,rope,brush,clock,basket,mirror,ladder,candle,blanket,whistle".split(",")
_CITIES = "Norwell,Eastham,Brayford,Linton,Oakvale".split(",")


def _stock(draw: random.Random, rows: int) -> Table:
    """Product, city, price and amount."""
    lines: list[list[Cell]] = [["Product", "City", "Price", "Amount"]]
    for item in draw.sample(_ITEMS, rows):
        lines.append([item, draw.choice(_CITIES), draw.randrange(3, 90), draw.randrange(1, 60)])
    return Table(lines)


def total(draw: random.Random) -> Made:
    table = _stock(draw, draw.randrange(4, 8))
    last, column = len(table.rows), draw.choice(["C", "D"])
    operator, word = draw.choice([("SUM", "sum"), ("AVERAGE", "average"), ("MAX", "highest value"), ("MIN", "lowest value")])
    where = f"{column}{last + 1}"

    def solve(call: Call) -> None:
        call(
            "Now the formula.",
            "update_cell_by_formula",
            operator=operator,
            result_position=where,
            start_position=f"{column}2",
            end_position=f"{column}{last}",
        )

    name = "Price" if column == "C" else "Amount"
    return f"write the {word} of the column {name} (rows 2 to {last}) into the cell {where}.", table, 2, solve


def change(draw: random.Random) -> Made:
    table = _stock(draw, draw.randrange(4, 8))
    row, value = draw.randrange(1, len(table.rows)), draw.randrange(100, 200)
    item = str(table.rows[row][0])

    def solve(call: Call) -> None:
        found = call(f"Where is {item}?", "filter_cells", query=item)
        call("The price is two columns to the right.", "update_cell", position=f"C{found[0][1:]}", value=value)

    return f"set the price of the product {item} to {value}.", table, 3, solve


def sort(draw: random.Random) -> Made:
    table = _stock(draw, draw.randrange(4, 8))
    column, order = draw.choice([3, 4]), draw.choice(["asc", "des"])
    words = {"asc": "from the smallest to the largest", "des": "from the largest to the smallest"}

    def solve(call: Call) -> None:
        call("Now I sort it.", "sort_sheet_by_col", col_num=column, order=order)

    return f"sort the products by {table.rows[0][column - 1]}, {words[order]}.", table, 2, solve


def drop(draw: random.Random) -> Made:
    table = _stock(draw, draw.randrange(5, 8))
    city = str(draw.choice([row[1] for row in table.rows[1:]]))

    def solve(call: Call) -> None:
        found = call(f"Which rows have {city}?", "filter_cells", query=city, in_column=2)
        call("Now I delete them.", "delete_batch_data", dimension="rows", index_list=[int(name[1:]) for name in found])

    return f"delete the products whose city is {city}.", table, 3, solve


def add(draw: random.Random) -> Made:
    table = _stock(draw, draw.randrange(4, 7))
    line: list[Cell] = ["parcel", draw.choice(_CITIES), draw.randrange(3, 90), draw.randrange(1, 60)]
    at = draw.randrange(2, len(table.rows) + 2)

    def solve(call: Call) -> None:
        call("Now I insert the row.", "insert_rows", values_list=[line], row_idx=at)

    return f"insert the product {line[0]} with the city {line[1]}, price {line[2]} and amount {line[3]} as row {at}.", table, 2, solve


def column(draw: random.Random) -> Made:
    table = _stock(draw, draw.randrange(3, 6))

    def solve(call: Call) -> None:
        rows = call("I look at the table.", "get_all_values")
        values = ["Value", *(row[2] * row[3] for row in rows[1:])]
        end = name_of(len(values) - 1, 4)
        lines = [[value] for value in values]
        call("Now I write the new column.", "update_range", start_position="E1", end_position=end, values_list=lines)

    return "add a column Value after the last one, with price times amount for every product.", table, 3, solve


TEMPLATES: tuple[Callable[[random.Random], Made], ...] = (total, change, sort, drop, add, column)
