"""The templates of Sheet's problems: a table, a change to it, and the calls that make the change."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from envs.tools.problem import Call
from envs.tools.sheet_table import Cell, Table, cell_name

TemplateOutput = tuple[str, Table, int, Callable[[Call], Any]]
"""(text of the problem, initial table, number of calls, solution)"""
Template = Callable[[random.Random], TemplateOutput]
_PRODUCTS = "lamp,chair,kettle,rope,brush,clock,basket,mirror,ladder,candle,blanket,whistle".split(",")
_CITIES = "Norwell,Eastham,Brayford,Linton,Oakvale".split(",")


def _random_table(rng: random.Random, rows: int) -> Table:
    """A header row and `rows` products with city, price and amount."""
    lines: list[list[Cell]] = [["Product", "City", "Price", "Amount"]]
    for item in rng.sample(_PRODUCTS, rows):
        lines.append([item, rng.choice(_CITIES), rng.randrange(3, 90), rng.randrange(1, 60)])
    return Table(lines)


def write_formula(rng: random.Random) -> TemplateOutput:
    table = _random_table(rng, rng.randrange(4, 8))
    last, column = len(table.rows), rng.choice(["C", "D"])
    operator, word = rng.choice([("SUM", "sum"), ("AVERAGE", "average"), ("MAX", "highest value"), ("MIN", "lowest value")])
    result_position = f"{column}{last + 1}"

    def solve(call: Call) -> None:
        call(
            "Now the formula.",
            "update_cell_by_formula",
            operator=operator,
            result_position=result_position,
            start_position=f"{column}2",
            end_position=f"{column}{last}",
        )

    name = "Price" if column == "C" else "Amount"
    return f"write the {word} of the column {name} (rows 2 to {last}) into the cell {result_position}.", table, 2, solve


def change_price(rng: random.Random) -> TemplateOutput:
    table = _random_table(rng, rng.randrange(4, 8))
    row, value = rng.randrange(1, len(table.rows)), rng.randrange(100, 200)
    item = str(table.rows[row][0])

    def solve(call: Call) -> None:
        matches = call(f"Where is {item}?", "filter_cells", query=item)
        call("The price is two columns to the right.", "update_cell", position=f"C{matches[0][1:]}", value=value)

    return f"set the price of the product {item} to {value}.", table, 3, solve


def sort_rows(rng: random.Random) -> TemplateOutput:
    table = _random_table(rng, rng.randrange(4, 8))
    column, order = rng.choice([3, 4]), rng.choice(["asc", "des"])
    words = {"asc": "from the smallest to the largest", "des": "from the largest to the smallest"}

    def solve(call: Call) -> None:
        call("Now I sort it.", "sort_sheet_by_col", col_num=column, order=order)

    return f"sort the products by {table.rows[0][column - 1]}, {words[order]}.", table, 2, solve


def delete_rows(rng: random.Random) -> TemplateOutput:
    table = _random_table(rng, rng.randrange(5, 8))
    city = str(rng.choice([row[1] for row in table.rows[1:]]))

    def solve(call: Call) -> None:
        matches = call(f"Which rows have {city}?", "filter_cells", query=city, in_column=2)
        call("Now I delete them.", "delete_batch_data", dimension="rows", index_list=[int(name[1:]) for name in matches])

    return f"delete the products whose city is {city}.", table, 3, solve


def insert_row(rng: random.Random) -> TemplateOutput:
    table = _random_table(rng, rng.randrange(4, 7))
    new_row: list[Cell] = ["parcel", rng.choice(_CITIES), rng.randrange(3, 90), rng.randrange(1, 60)]
    row_number = rng.randrange(2, len(table.rows) + 2)

    def solve(call: Call) -> None:
        call("Now I insert the row.", "insert_rows", values_list=[new_row], row_idx=row_number)

    name, city, price, amount = new_row
    text = f"insert the product {name} with the city {city}, price {price} and amount {amount} as row {row_number}."
    return text, table, 2, solve


def add_value_column(rng: random.Random) -> TemplateOutput:
    table = _random_table(rng, rng.randrange(3, 6))

    def solve(call: Call) -> None:
        rows = call("I look at the table.", "get_all_values")
        values = ["Value", *(row[2] * row[3] for row in rows[1:])]
        end = cell_name(len(values) - 1, 4)
        lines = [[value] for value in values]
        call("Now I write the new column.", "update_range", start_position="E1", end_position=end, values_list=lines)

    return "add a column Value after the last one, with price times amount for every product.", table, 3, solve


TEMPLATES: tuple[Template, ...] = (
    write_formula,
    change_price,
    sort_rows,
    delete_rows,
    insert_row,
    add_value_column,
)
