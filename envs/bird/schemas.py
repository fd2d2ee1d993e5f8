"""The databases that ship with the environment: read from schemas.txt, filled from a seed, kept as bytes.

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

_FILE = Path(__file__).with_name("schemas.txt")
_NAMES = Path(__file__).with_name("names.txt")
_TABLE = re.compile(r"(\w+) / (\w+) / (\d+): (.+)")
_MISSING = 0.08  # of the values that may be missing


@dataclass(frozen=True, slots=True)
class Column:
    """`kind`: person, title, pick, code, int, real, date, ref; `values`: what it picks from, its bounds, or the table it refers to."""

    name: str
    kind: str
    values: tuple[str, ...]
    optional: bool

    @property
    def noun(self) -> str:
        return self.name.replace("_", " ")

    @property
    def meanings(self) -> dict[str, str]:
        """What the codes of a coded column mean."""
        return dict(value.split("=", 1) for value in self.values) if self.kind == "code" else {}

    @property
    def sql_type(self) -> str:
        return {"int": "INTEGER", "ref": "INTEGER", "real": "REAL"}.get(self.kind, "TEXT")


@dataclass(frozen=True, slots=True)
class Table:
    """A table; every one has the primary key `id` besides its columns."""

    name: str
    plural: str
    rows: int
    columns: tuple[Column, ...]

    def of_kind(self, *kinds: str) -> list[Column]:
        return [column for column in self.columns if column.kind in kinds]

    @property
    def title(self) -> Column | None:
        """The column that a row is called by, where there is one."""
        return next(iter(self.of_kind("person", "title")), None)


@lru_cache(maxsize=None)
def schemas() -> dict[str, tuple[Table, ...]]:
    """The tables of every database, by its name."""
    found: dict[str, list[Table]] = {}
    for line in _FILE.read_text(encoding="ascii").splitlines():
        if line.startswith("database "):
            tables = found.setdefault(line.removeprefix("database "), [])
        elif match := _TABLE.fullmatch(line):
            tables.append(Table(match[1], match[2], int(match[3]), tuple(map(_column, match[4].split("; ")))))
    return {name: tuple(tables) for name, tables in found.items()}


def _column(text: str) -> Column:
    name, kind, *rest = text.rstrip("?").split(" ", 2)
    given = " ".join(rest)
    values = given.split("-") if kind in ("int", "real", "date") else given.split("|") if given else []
    return Column(name, kind, tuple(values), text.endswith("?"))


def create_statement(table: Table) -> str:
    columns = [f"{column.name} {column.sql_type}{_reference(column)}" for column in table.columns]
    return f"CREATE TABLE {table.name} (id INTEGER PRIMARY KEY, {', '.join(columns)})"


def _reference(column: Column) -> str:
    return f" REFERENCES {column.values[0]}(id)" if column.kind == "ref" else ""


@lru_cache(maxsize=None)
def database_bytes(name: str) -> bytes:
    """The filled database as a SQLite file's bytes."""
    database = sqlite3.connect(":memory:")
    for table in schemas()[name]:
        database.execute(create_statement(table))
        places = ", ".join("?" * (len(table.columns) + 1))
        database.executemany(f"INSERT INTO {table.name} VALUES ({places})", _rows(name, table))
    database.commit()
    return database.serialize()


def _rows(database: str, table: Table) -> Iterator[tuple[object, ...]]:
    draw = random.Random(f"{database}.{table.name}")
    counts = {other.name: other.rows for other in schemas()[database]}
    names = _names(draw, table)
    for number in range(table.rows):
        yield (number + 1, *(_value(draw, column, counts, names[number]) for column in table.columns))


def _names(draw: random.Random, table: Table) -> list[str]:
    """A name of its own for every row."""
    person = bool(table.of_kind("person"))
    given, family, first, second = (line.split() for line in _NAMES.read_text(encoding="ascii").splitlines())
    pairs = [f"{one} {two}" for one in (given if person else first) for two in (family if person else second)]
    draw.shuffle(pairs)
    return [pairs[number % len(pairs)] + ("" if number < len(pairs) else f" {1 + number // len(pairs)}") for number in range(table.rows)]


def _value(draw: random.Random, column: Column, counts: dict[str, int], name: str) -> object:
    missing = draw.random() < _MISSING
    if column.kind in ("person", "title"):
        return name
    if column.kind in ("pick", "code"):
        # The later ones are rarer, so that counts differ.
        weighted = [value for rank, value in enumerate(column.values) for _ in range(len(column.values) + 1 - rank)]
        drawn: object = draw.choice(weighted).partition("=")[0]
    elif column.kind == "ref":
        drawn = 1 + int(counts[column.values[0]] * draw.random() ** 1.3 * 0.97)  # some are never referred to, some often
    elif column.kind == "date":
        first, last = (date(int(year), 1, 1) for year in column.values)
        drawn = (first + timedelta(days=draw.randrange((last - first).days + 365))).isoformat()
    elif column.kind == "int":
        low, high = map(int, column.values)
        drawn = draw.randrange(low, high + 1)
    else:
        low, high = map(int, column.values)
        drawn = round(low + (high - low) * draw.random(), 2)
    return None if column.optional and missing else drawn
