"""Moderate questions: grouping, ordering, dates, NULL, joins."""

from __future__ import annotations

from envs.bird.generated_databases import Column
from envs.bird.question_templates.sampler import MODERATE, Candidate, SchemaSampler


def aggregate_per_group(sampler: SchemaSampler) -> Candidate:
    table = sampler.table(lambda table: table.of_kind("pick"))
    group = sampler.choice(table.of_kind("pick"))
    if table.of_kind("int", "real") and sampler.rng.random() < 0.6:
        column = sampler.numeric_column(table)
        word, function = sampler.choice([("average", "AVG"), ("highest", "MAX"), ("lowest", "MIN")])
        question, aggregate = (
            f"For each {group.noun}, what is the {word} {column.noun} of the {table.plural}?",
            f"{function}({column.name})",
        )
    else:
        question, aggregate = f"For each {group.noun}, how many {table.plural} are there?", "COUNT(*)"
    return Candidate(MODERATE, question, f"SELECT {group.name}, {aggregate} FROM {table.name} GROUP BY {group.name}")


def top_rows(sampler: SchemaSampler) -> Candidate:
    table = sampler.table(lambda table: table.title and table.of_kind("int", "real", "date"))
    assert table.title is not None
    column, count = sampler.choice(table.of_kind("int", "real", "date")), sampler.rng.randrange(1, 6)
    descending = sampler.rng.random() < 0.5
    word = ("latest" if descending else "earliest") if column.kind == "date" else ("highest" if descending else "lowest")
    coded_columns: tuple[Column, ...] = ()
    words, where = "", f"{column.name} IS NOT NULL"
    if table.of_kind("pick", "code") and sampler.rng.random() < 0.6:
        words, condition, coded_columns = sampler.condition(table)
        words, where = f" among those {words}", f"{where} AND {condition}"
    noun = table.name if count == 1 else f"{count} {table.plural}"
    return Candidate(
        MODERATE,
        f"Which {noun} {'has' if count == 1 else 'have'} the {word} {column.noun}{words}?",
        f"SELECT {table.title.name} FROM {table.name} WHERE {where} ORDER BY {column.name} {'DESC' if descending else 'ASC'} LIMIT {count}",
        coded_columns,
    )


def count_in_year(sampler: SchemaSampler) -> Candidate:
    table = sampler.table(lambda table: table.of_kind("date"))
    column = sampler.choice(table.of_kind("date"))
    year = sampler.year(column)
    coded_columns: tuple[Column, ...] = ()
    where, words = f"strftime('%Y', {column.name}) = '{year}'", ""
    if table.of_kind("pick", "code") and sampler.rng.random() < 0.5:
        words, condition, coded_columns = sampler.condition(table)
        words, where = f" {words}", f"{where} AND {condition}"
    return Candidate(
        MODERATE,
        f"How many {table.plural}{words} have a {column.noun} in {year}?",
        f"SELECT COUNT(*) FROM {table.name} WHERE {where}",
        coded_columns,
    )


def count_nulls(sampler: SchemaSampler) -> Candidate:
    table = sampler.table(lambda table: any(column.optional for column in table.columns))
    column = sampler.choice([column for column in table.columns if column.optional])
    words, condition, coded_columns = sampler.condition(table) if table.of_kind("pick", "code") else ("", "", ())
    where = f"{column.name} IS NULL" + (f" AND {condition}" if condition else "")
    return Candidate(
        MODERATE,
        f"For how many {table.plural} {words} is no {column.noun} known?".replace("  ", " "),
        f"SELECT COUNT(*) FROM {table.name} WHERE {where}",
        coded_columns,
    )


def children_of_matching_parents(sampler: SchemaSampler) -> Candidate:
    child, key, parent = sampler.foreign_key()
    words, where, coded_columns = sampler.condition(parent, "p.")
    if child.title:
        column = sampler.numeric_column(child)
        bound = sampler.quantile(child, column, 0.85)
        return Candidate(
            MODERATE,
            f"List the {child.plural} with a {column.noun} of at least {bound} that belong to a {parent.name} {words}.",
            f"SELECT c.{child.title.name} FROM {child.name} c JOIN {parent.name} p ON c.{key.name} = p.id"
            f" WHERE c.{column.name} >= {bound} AND {where}",
            coded_columns,
        )
    return Candidate(
        MODERATE,
        f"How many {child.plural} belong to a {parent.name} {words}?",
        f"SELECT COUNT(*) FROM {child.name} c JOIN {parent.name} p ON c.{key.name} = p.id WHERE {where}",
        coded_columns,
    )


def children_of_named_parent(sampler: SchemaSampler) -> Candidate:
    child, key, parent = sampler.foreign_key()
    assert parent.title is not None
    name = sampler.row_name(parent, parent.title)
    join = f"FROM {child.name} c JOIN {parent.name} p ON c.{key.name} = p.id WHERE p.{parent.title.name} = '{name}'"
    if child.of_kind("int", "real") and sampler.rng.random() < 0.6:
        column = sampler.numeric_column(child)
        word, function = sampler.choice([("average", "AVG"), ("total", "SUM"), ("highest", "MAX")])
        question = f"What is the {word} {column.noun} of the {child.plural} of the {parent.name} {name}?"
        return Candidate(MODERATE, question, f"SELECT {function}(c.{column.name}) {join}")
    return Candidate(MODERATE, f"How many {child.plural} does the {parent.name} {name} have?", f"SELECT COUNT(*) {join}")
