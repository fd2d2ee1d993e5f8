"""The databases that ship: read from schemas.txt, filled with seeded random rows, kept as bytes.

Invariant: the same schemas.txt gives the same rows in the same order on every machine.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

_SCHEMAS_FILE = Path(__file__).with_name("schemas.txt")
_NAMES_FILE = Path(__file__).with_name("names.txt")
_TABLE = re.compile(r"(\w+) / (\w+) / (\d+): (.+)")
_NULL_RATE = 0.08  # of the values of an optional column


@dataclass(frozen=True, slots=True)
class Column:
    """`kind`: person, title, pick, code, int, real, date or ref; `values`: the choices, the bounds, or the table that a ref refers to."""

    name: str
    kind: str
    values: tuple[str, ...]
    optional: bool

    @property
    def noun(self) -> str:
        return self.name.replace("_", " ")

    @property
    def meanings(self) -> dict[str, str]:
        """The meaning of each code of a code column."""
        return dict(value.split("=", 1) for value in self.values) if self.kind == "code" else {}

    @property
    def sql_type(self) -> str:
        return {"int": "INTEGER", "ref": "INTEGER", "real": "REAL"}.get(self.kind, "TEXT")


@dataclass(frozen=True, slots=True)
class Table:
    """A table; besides its columns, each has the primary key `id`."""

    name: str
    plural: str
    num_rows: int
    columns: tuple[Column, ...]

    def of_kind(self, *kinds: str) -> list[Column]:
        return [column for column in self.columns if column.kind in kinds]

    @property
    def title(self) -> Column | None:
        """The column that names a row, if there is one."""
        return next(iter(self.of_kind("person", "title")), None)


@lru_cache(maxsize=None)
def schemas() -> dict[str, tuple[Table, ...]]:
    """The tables of every database, by the database's name."""
    databases: dict[str, list[Table]] = {}
    for line in _SCHEMAS_FILE.read_text(encoding="ascii").splitlines():
        if line.startswith("database "):
            tables = databases.setdefault(line.removeprefix("database "), [])
        elif match := _TABLE.fullmatch(line):
            tables.append(Table(match[1], match[2], int(match[3]), tuple(map(_parse_column, match[4].split("; ")))))
    return {name: tuple(tables) for name, tables in databases.items()}


def _parse_column(text: str) -> Column:
    name, kind, *rest = text.rstrip("?").split(" ", 2)
    value_text = " ".join(rest)
    values = value_text.split("-") if kind in ("int", "real", "date") else value_text.split("|") if value_text else []
    return Column(name, kind, tuple(values), text.endswith("?"))


def create_statement(table: Table) -> str:
    columns = [f"{column.name} {column.sql_type}{_reference(column)}" for column in table.columns]
    return f"CREATE TABLE {table.name} (id INTEGER PRIMARY KEY, {', '.join(columns)})"


def _reference(column: Column) -> str:
    return f" REFERENCES {column.values[0]}(id)" if column.kind == "ref" else ""


@lru_cache(maxsize=None)
def generated_database(name: str) -> bytes:
    """The filled database as the bytes of a SQLite file."""
    database = sqlite3.connect(":memory:")
    for table in schemas()[name]:
        database.execute(create_statement(table))
        placeholders = ", ".join("?" * (len(table.columns) + 1))
        database.executemany(f"INSERT INTO {table.name} VALUES ({placeholders})", _rows(name, table))
    database.commit()
    return database.serialize()


def _rows(database: str, table: Table) -> Iterator[tuple[object, ...]]:
    rng = random.Random(f"{database}.{table.name}")
    row_counts = {parent.name: parent.num_rows for parent in schemas()[database]}
    names = _names(rng, table)
    for number in range(table.num_rows):
        yield (number + 1, *(_value(rng, column, row_counts, names[number]) for column in table.columns))


def _names(rng: random.Random, table: Table) -> list[str]:
    """A distinct name for every row."""
    person = bool(table.of_kind("person"))
    given, family, first, second = (line.split() for line in _NAMES_FILE.read_text(encoding="ascii").splitlines())
    pairs = [f"{first_word} {second_word}" for first_word in (given if person else first) for second_word in (family if person else second)]
    rng.shuffle(pairs)
    return [
        pairs[number % len(pairs)] + ("" if number < len(pairs) else f" {1 + number // len(pairs)}") for number in range(table.num_rows)
    ]


def _value(rng: random.Random, column: Column, row_counts: dict[str, int], name: str) -> object:
    is_null = rng.random() < _NULL_RATE
    if column.kind in ("person", "title"):
        return name
    if column.kind in ("pick", "code"):
        # The later choices are rarer, so that counts differ.
        weighted = [value for rank, value in enumerate(column.values) for _ in range(len(column.values) + 1 - rank)]
        value: object = rng.choice(weighted).partition("=")[0]
    elif column.kind == "ref":
        value = 1 + int(row_counts[column.values[0]] * rng.random() ** 1.3 * 0.97)  # skewed: some rows are never referred to, some often
    elif column.kind == "date":
        first, last = (date(int(year), 1, 1) for year in column.values)
        value = (first + timedelta(days=rng.randrange((last - first).days + 365))).isoformat()
    elif column.kind == "int":
        low, high = map(int, column.values)
        value = rng.randrange(low, high + 1)
    else:
        low, high = map(int, column.values)
        value = round(low + (high - low) * rng.random(), 2)
    return None if column.optional and is_null else value
