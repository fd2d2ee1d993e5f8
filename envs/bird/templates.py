"""Questions about a database and the queries that answer them, out of what its columns are.

Every template yields any number of (difficulty, question, SQL) from a stream of random choices; which of them are good questions (an
answer that is neither empty nor long, a text of its own) is decided by choose.py.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from envs.bird.schemas import Column, Table

_T = TypeVar("_T")
SIMPLE, MODERATE, CHALLENGING = "simple", "moderate", "challenging"


@dataclass(frozen=True, slots=True)
class Draft:
    """A question that may turn out to be a bad one."""

    difficulty: str
    question: str
    sql: str
    coded: tuple[Column, ...] = ()
    """The columns whose codes the question speaks of by their meaning."""


class NoQuestion(LookupError):
    """The table has not the columns that a template needs."""


@dataclass(slots=True)
class Writer:
    """One attempt: a database, its tables, and a stream of choices."""

    database: sqlite3.Connection
    tables: tuple[Table, ...]
    draw: random.Random

    def table(self, need: Callable[[Table], object] = lambda table: True) -> Table:
        return self.one([table for table in self.tables if need(table)])

    def one(self, choices: list[_T]) -> _T:
        if not choices:
            raise NoQuestion
        return self.draw.choice(choices)

    def child(self) -> tuple[Table, Column, Table]:
        """A table, its column that refers to another, and that other one, which has a name for its rows."""
        pairs = [
            (table, column, parent)
            for table in self.tables
            for column in table.of_kind("ref")
            for parent in self.tables
            if parent.name == column.values[0] and parent.title
        ]
        return self.one(pairs)

    def number(self, table: Table) -> Column:
        return self.one(table.of_kind("int", "real"))

    def condition(self, table: Table, prefix: str = "") -> tuple[str, str, tuple[Column, ...]]:
        """(words after the noun, SQL, coded columns): one value of a column with few."""
        column = self.one(table.of_kind("pick", "code"))
        value, _, meaning = self.one(list(column.values)).partition("=")
        words = f"whose {column.noun} is {meaning or value}"
        return words, f"{prefix}{column.name} = '{value}'", (column,) if meaning else ()

    def quantile(self, table: Table, column: Column, share: float) -> float | int:
        values = [
            row[0] for row in self.database.execute(f"SELECT {column.name} FROM {table.name} WHERE {column.name} IS NOT NULL ORDER BY 1")
        ]
        found: float | int = values[min(len(values) - 1, int(share * len(values)))]
        return found

    def year(self, column: Column) -> int:
        first, last = map(int, column.values)
        return self.draw.randrange(max(first, last - 12), last + 1)


def how_many(w: Writer) -> Draft:
    table = w.table(lambda table: table.of_kind("pick", "code"))
    words, sql, coded = w.condition(table)
    asked = w.one([f"How many {table.plural} are there {words}?", f"Count the {table.plural} {words}."])
    return Draft(SIMPLE, asked, f"SELECT COUNT(*) FROM {table.name} WHERE {sql}", coded)


def one_figure(w: Writer) -> Draft:
    table = w.table(lambda table: table.of_kind("int", "real"))
    column = w.number(table)
    word, function = w.one([("average", "AVG"), ("highest", "MAX"), ("lowest", "MIN"), ("total", "SUM")])
    if table.of_kind("pick", "code") and w.draw.random() < 0.7:
        words, where, coded = w.condition(table)
        return Draft(
            SIMPLE,
            f"What is the {word} {column.noun} of the {table.plural} {words}?",
            f"SELECT {function}({column.name}) FROM {table.name} WHERE {where}",
            coded,
        )
    return Draft(SIMPLE, f"What is the {word} {column.noun} of all {table.plural}?", f"SELECT {function}({column.name}) FROM {table.name}")


def of_one(w: Writer) -> Draft:
    table = w.table(lambda table: table.title)
    title = table.title
    assert title is not None
    column = w.one(table.of_kind("int", "real", "date", "pick"))
    name = w.one([row[0] for row in w.database.execute(f"SELECT {title.name} FROM {table.name} ORDER BY id")])
    return Draft(
        SIMPLE,
        f"What is the {column.noun} of the {table.name} {name}?",
        f"SELECT {column.name} FROM {table.name} WHERE {title.name} = '{name}'",
    )


def beyond(w: Writer) -> Draft:
    table = w.table(lambda table: table.title and table.of_kind("int", "real"))
    assert table.title is not None
    column = w.number(table)
    above = w.draw.random() < 0.5
    bound = w.quantile(table, column, 0.95 if above else 0.05)
    word, sign = ("above", ">") if above else ("below", "<")
    return Draft(
        SIMPLE,
        w.one(
            [f"List the {table.plural} with a {column.noun} {word} {bound}.", f"Which {table.plural} have a {column.noun} {word} {bound}?"]
        ),
        f"SELECT {table.title.name} FROM {table.name} WHERE {column.name} {sign} {bound}",
    )


def per_group(w: Writer) -> Draft:
    table = w.table(lambda table: table.of_kind("pick"))
    group = w.one(table.of_kind("pick"))
    if table.of_kind("int", "real") and w.draw.random() < 0.6:
        column = w.number(table)
        word, function = w.one([("average", "AVG"), ("highest", "MAX"), ("lowest", "MIN")])
        asked, figure = f"For each {group.noun}, what is the {word} {column.noun} of the {table.plural}?", f"{function}({column.name})"
    else:
        asked, figure = f"For each {group.noun}, how many {table.plural} are there?", "COUNT(*)"
    return Draft(MODERATE, asked, f"SELECT {group.name}, {figure} FROM {table.name} GROUP BY {group.name}")


def first_few(w: Writer) -> Draft:
    table = w.table(lambda table: table.title and table.of_kind("int", "real", "date"))
    assert table.title is not None
    column, count = w.one(table.of_kind("int", "real", "date")), w.draw.randrange(1, 6)
    down = w.draw.random() < 0.5
    word = ("latest" if down else "earliest") if column.kind == "date" else ("highest" if down else "lowest")
    coded: tuple[Column, ...] = ()
    words, where = "", f"{column.name} IS NOT NULL"
    if table.of_kind("pick", "code") and w.draw.random() < 0.6:
        words, condition, coded = w.condition(table)
        words, where = f" among those {words}", f"{where} AND {condition}"
    noun = table.name if count == 1 else f"{count} {table.plural}"
    return Draft(
        MODERATE,
        f"Which {noun} {'has' if count == 1 else 'have'} the {word} {column.noun}{words}?",
        f"SELECT {table.title.name} FROM {table.name} WHERE {where} ORDER BY {column.name} {'DESC' if down else 'ASC'} LIMIT {count}",
        coded,
    )


def in_a_year(w: Writer) -> Draft:
    table = w.table(lambda table: table.of_kind("date"))
    column = w.one(table.of_kind("date"))
    year = w.year(column)
    coded: tuple[Column, ...] = ()
    where, words = f"strftime('%Y', {column.name}) = '{year}'", ""
    if table.of_kind("pick", "code") and w.draw.random() < 0.5:
        words, condition, coded = w.condition(table)
        words, where = f" {words}", f"{where} AND {condition}"
    return Draft(
        MODERATE,
        f"How many {table.plural}{words} have a {column.noun} in {year}?",
        f"SELECT COUNT(*) FROM {table.name} WHERE {where}",
        coded,
    )


def missing(w: Writer) -> Draft:
    table = w.table(lambda table: any(column.optional for column in table.columns))
    column = w.one([column for column in table.columns if column.optional])
    words, condition, coded = w.condition(table) if table.of_kind("pick", "code") else ("", "", ())
    where = f"{column.name} IS NULL" + (f" AND {condition}" if condition else "")
    return Draft(
        MODERATE,
        f"For how many {table.plural} {words} is no {column.noun} known?".replace("  ", " "),
        f"SELECT COUNT(*) FROM {table.name} WHERE {where}",
        coded,
    )


def joined(w: Writer) -> Draft:
    child, key, parent = w.child()
    words, where, coded = w.condition(parent, "p.")
    if child.title:
        column = w.number(child)
        bound = w.quantile(child, column, 0.85)
        return Draft(
            MODERATE,
            f"List the {child.plural} with a {column.noun} of at least {bound} that belong to a {parent.name} {words}.",
            f"SELECT c.{child.title.name} FROM {child.name} c JOIN {parent.name} p ON c.{key.name} = p.id"
            f" WHERE c.{column.name} >= {bound} AND {where}",
            coded,
        )
    return Draft(
        MODERATE,
        f"How many {child.plural} belong to a {parent.name} {words}?",
        f"SELECT COUNT(*) FROM {child.name} c JOIN {parent.name} p ON c.{key.name} = p.id WHERE {where}",
        coded,
    )


def of_a_parent(w: Writer) -> Draft:
    child, key, parent = w.child()
    assert parent.title is not None
    name = w.one([row[0] for row in w.database.execute(f"SELECT {parent.title.name} FROM {parent.name} ORDER BY id")])
    join = f"FROM {child.name} c JOIN {parent.name} p ON c.{key.name} = p.id WHERE p.{parent.title.name} = '{name}'"
    if child.of_kind("int", "real") and w.draw.random() < 0.6:
        column = w.number(child)
        word, function = w.one([("average", "AVG"), ("total", "SUM"), ("highest", "MAX")])
        asked = f"What is the {word} {column.noun} of the {child.plural} of the {parent.name} {name}?"
        return Draft(MODERATE, asked, f"SELECT {function}(c.{column.name}) {join}")
    return Draft(MODERATE, f"How many {child.plural} does the {parent.name} {name} have?", f"SELECT COUNT(*) {join}")


def share(w: Writer) -> Draft:
    table = w.table(lambda table: table.of_kind("pick", "code"))
    words, where, coded = w.condition(table)
    extra, scope = "", ""
    dates = table.of_kind("date")
    if dates and w.draw.random() < 0.8:
        column = w.one(dates)
        year = w.year(column)
        extra, scope = f" with a {column.noun} in {year}", f" WHERE strftime('%Y', {column.name}) = '{year}'"
    return Draft(
        CHALLENGING,
        f"Of the {table.plural}{extra}, what percentage are those {words}?",
        f"SELECT 100.0 * SUM(CASE WHEN {where} THEN 1 ELSE 0 END) / COUNT(*) FROM {table.name}{scope}",
        coded,
    )


def having(w: Writer) -> Draft:
    child, key, parent = w.child()
    assert parent.title is not None
    counts = [row[0] for row in w.database.execute(f"SELECT COUNT(*) FROM {child.name} GROUP BY {key.name} ORDER BY 1")]
    bound = counts[int(0.85 * len(counts))]
    coded: tuple[Column, ...] = ()
    where, words = "", ""
    if child.of_kind("pick", "code") and w.draw.random() < 0.5:
        words, condition, coded = w.condition(child, "c.")
        words, where, bound = f" {words}", f" WHERE {condition}", max(1, bound // 3)
    return Draft(
        CHALLENGING,
        f"Which {parent.plural} have more than {bound} {child.plural}{words}?",
        f"SELECT p.{parent.title.name} FROM {parent.name} p JOIN {child.name} c ON c.{key.name} = p.id{where}"
        f" GROUP BY p.id HAVING COUNT(*) > {bound}",
        coded,
    )


def the_most(w: Writer) -> Draft:
    child, key, parent = w.child()
    assert parent.title is not None
    join = f"SELECT p.{parent.title.name} FROM {parent.name} p JOIN {child.name} c ON c.{key.name} = p.id"
    coded: tuple[Column, ...] = ()
    where, words = "", ""
    if parent.of_kind("pick", "code") and w.draw.random() < 0.6:
        words, condition, coded = w.condition(parent, "p.")
        words, where = f" among those {words}", f" WHERE {condition}"
    if child.of_kind("int", "real") and w.draw.random() < 0.6:
        column = w.number(child)
        word, function = w.one([("total", "SUM"), ("average", "AVG")])
        asked = f"Which {parent.name} has the highest {word} {column.noun} of its {child.plural}{words}?"
        return Draft(CHALLENGING, asked, f"{join}{where} GROUP BY p.id ORDER BY {function}(c.{column.name}) DESC LIMIT 1", coded)
    return Draft(
        CHALLENGING,
        f"Which {parent.name} has the most {child.plural}{words}?",
        f"{join}{where} GROUP BY p.id ORDER BY COUNT(*) DESC LIMIT 1",
        coded,
    )


def above_average(w: Writer) -> Draft:
    table = w.table(lambda table: table.title and table.of_kind("int", "real") and table.of_kind("pick", "code"))
    assert table.title is not None
    column = w.number(table)
    words, where, coded = w.condition(table)
    return Draft(
        CHALLENGING,
        f"How many {table.plural} {words} have a {column.noun} above the average of all {table.plural}?",
        f"SELECT COUNT(*) FROM {table.name} WHERE {where} AND {column.name} > (SELECT AVG({column.name}) FROM {table.name})",
        coded,
    )


def without(w: Writer) -> Draft:
    child, key, parent = w.child()
    assert parent.title is not None
    coded: tuple[Column, ...] = ()
    inner, words = f"SELECT {key.name} FROM {child.name}", ""
    if child.of_kind("pick", "code") and w.draw.random() < 0.6:
        words, condition, coded = w.condition(child)
        words, inner = f" {words}", f"{inner} WHERE {condition}"
    elif child.of_kind("date"):
        column = w.one(child.of_kind("date"))
        year = w.year(column)
        words, inner = f" with a {column.noun} in {year}", f"{inner} WHERE strftime('%Y', {column.name}) = '{year}'"
    codes: tuple[Column, ...] = ()
    outer, more = "", ""
    if parent.of_kind("pick", "code") and w.draw.random() < 0.5:
        more, condition, codes = w.condition(parent)
        more, outer = f" {more}", f" AND {condition}"
    return Draft(
        CHALLENGING,
        f"Which {parent.plural}{more} have no {child.plural}{words}?",
        f"SELECT {parent.title.name} FROM {parent.name} WHERE id NOT IN ({inner}){outer}",
        (*coded, *codes),
    )


def across(w: Writer) -> Draft:
    child, key, parent = w.child()
    group, column = w.one(parent.of_kind("pick")), w.number(child)
    word, function = w.one([("average", "AVG"), ("total", "SUM"), ("highest", "MAX")])
    coded: tuple[Column, ...] = ()
    where, words = "", ""
    if child.of_kind("pick", "code") and w.draw.random() < 0.5:
        words, condition, coded = w.condition(child, "c.")
        words, where = f" {words}", f" WHERE {condition}"
    return Draft(
        CHALLENGING,
        f"What is the {word} {column.noun} of the {child.plural}{words} for each {group.noun} of their {parent.name}?",
        f"SELECT p.{group.name}, {function}(c.{column.name}) FROM {child.name} c JOIN {parent.name} p ON c.{key.name} = p.id{where}"
        f" GROUP BY p.{group.name}",
        coded,
    )


TEMPLATES: tuple[Callable[[Writer], Draft], ...] = (
    how_many, one_figure, of_one, beyond, per_group, first_few, in_a_year, missing,
    joined, of_a_parent, share, having, the_most, above_average, without, across,
)  # fmt: skip
