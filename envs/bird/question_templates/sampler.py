"""Random tables, columns and conditions of one database, from which a template builds a question with its SQL.

Invariant: the same database and random generator give the same candidates. Every template gives any number of candidates; generate.py
decides which are good questions.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from envs.bird.generated_databases import Column, Table

_T = TypeVar("_T")
SIMPLE, MODERATE, CHALLENGING = "simple", "moderate", "challenging"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question that generate.py keeps or drops. `coded_columns`: columns whose codes the question names by their meaning."""

    difficulty: str
    question: str
    sql: str
    coded_columns: tuple[Column, ...] = ()


class TemplateNotApplicable(LookupError):
    """The database has no table or column of the kind that the template needs."""


@dataclass(slots=True)
class SchemaSampler:
    """Draws from one database. The methods that draw raise TemplateNotApplicable where there is nothing to draw from."""

    database: sqlite3.Connection
    tables: tuple[Table, ...]
    rng: random.Random

    def choice(self, choices: list[_T]) -> _T:
        if not choices:
            raise TemplateNotApplicable
        return self.rng.choice(choices)

    def table(self, condition: Callable[[Table], object] = lambda table: True) -> Table:
        return self.choice([table for table in self.tables if condition(table)])

    def foreign_key(self) -> tuple[Table, Column, Table]:
        """(table, its foreign key column, the table referred to); the last one has a column that names its rows."""
        foreign_keys = [
            (table, column, parent)
            for table in self.tables
            for column in table.of_kind("ref")
            for parent in self.tables
            if parent.name == column.values[0] and parent.title
        ]
        return self.choice(foreign_keys)

    def numeric_column(self, table: Table) -> Column:
        return self.choice(table.of_kind("int", "real"))

    def condition(self, table: Table, prefix: str = "") -> tuple[str, str, tuple[Column, ...]]:
        """(words that follow the noun, SQL, coded columns): a column with few values equals one of them."""
        column = self.choice(table.of_kind("pick", "code"))
        value, _, meaning = self.choice(list(column.values)).partition("=")
        words = f"whose {column.noun} is {meaning or value}"
        return words, f"{prefix}{column.name} = '{value}'", (column,) if meaning else ()

    def quantile(self, table: Table, column: Column, share: float) -> float | int:
        values = [
            row[0] for row in self.database.execute(f"SELECT {column.name} FROM {table.name} WHERE {column.name} IS NOT NULL ORDER BY 1")
        ]
        value: float | int = values[min(len(values) - 1, int(share * len(values)))]
        return value

    def row_name(self, table: Table, title: Column) -> str:
        return self.choice([str(row[0]) for row in self.database.execute(f"SELECT {title.name} FROM {table.name} ORDER BY id")])

    def year(self, column: Column) -> int:
        first, last = map(int, column.values)
        return self.rng.randrange(max(first, last - 12), last + 1)


Template = Callable[[SchemaSampler], Candidate]
