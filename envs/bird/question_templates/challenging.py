"""Challenging questions: shares, HAVING, subqueries, joins with grouping."""

from __future__ import annotations

from envs.bird.generated_databases import Column
from envs.bird.question_templates.sampler import CHALLENGING, Candidate, SchemaSampler


def percentage(sampler: SchemaSampler) -> Candidate:
    table = sampler.table(lambda table: table.of_kind("pick", "code"))
    words, where, coded_columns = sampler.condition(table)
    period, period_condition = "", ""
    dates = table.of_kind("date")
    if dates and sampler.rng.random() < 0.8:
        column = sampler.choice(dates)
        year = sampler.year(column)
        period, period_condition = f" with a {column.noun} in {year}", f" WHERE strftime('%Y', {column.name}) = '{year}'"
    return Candidate(
        CHALLENGING,
        f"Of the {table.plural}{period}, what percentage are those {words}?",
        f"SELECT 100.0 * SUM(CASE WHEN {where} THEN 1 ELSE 0 END) / COUNT(*) FROM {table.name}{period_condition}",
        coded_columns,
    )


def parents_with_many_children(sampler: SchemaSampler) -> Candidate:
    child, key, parent = sampler.foreign_key()
    assert parent.title is not None
    counts = [row[0] for row in sampler.database.execute(f"SELECT COUNT(*) FROM {child.name} GROUP BY {key.name} ORDER BY 1")]
    bound = counts[int(0.85 * len(counts))]
    coded_columns: tuple[Column, ...] = ()
    where, words = "", ""
    if child.of_kind("pick", "code") and sampler.rng.random() < 0.5:
        words, condition, coded_columns = sampler.condition(child, "c.")
        words, where, bound = f" {words}", f" WHERE {condition}", max(1, bound // 3)
    return Candidate(
        CHALLENGING,
        f"Which {parent.plural} have more than {bound} {child.plural}{words}?",
        f"SELECT p.{parent.title.name} FROM {parent.name} p JOIN {child.name} c ON c.{key.name} = p.id{where}"
        f" GROUP BY p.id HAVING COUNT(*) > {bound}",
        coded_columns,
    )


def parent_with_most(sampler: SchemaSampler) -> Candidate:
    child, key, parent = sampler.foreign_key()
    assert parent.title is not None
    join = f"SELECT p.{parent.title.name} FROM {parent.name} p JOIN {child.name} c ON c.{key.name} = p.id"
    coded_columns: tuple[Column, ...] = ()
    where, words = "", ""
    if parent.of_kind("pick", "code") and sampler.rng.random() < 0.6:
        words, condition, coded_columns = sampler.condition(parent, "p.")
        words, where = f" among those {words}", f" WHERE {condition}"
    if child.of_kind("int", "real") and sampler.rng.random() < 0.6:
        column = sampler.numeric_column(child)
        word, function = sampler.choice([("total", "SUM"), ("average", "AVG")])
        question = f"Which {parent.name} has the highest {word} {column.noun} of its {child.plural}{words}?"
        return Candidate(
            CHALLENGING, question, f"{join}{where} GROUP BY p.id ORDER BY {function}(c.{column.name}) DESC LIMIT 1", coded_columns
        )
    return Candidate(
        CHALLENGING,
        f"Which {parent.name} has the most {child.plural}{words}?",
        f"{join}{where} GROUP BY p.id ORDER BY COUNT(*) DESC LIMIT 1",
        coded_columns,
    )


def count_above_average(sampler: SchemaSampler) -> Candidate:
    table = sampler.table(lambda table: table.title and table.of_kind("int", "real") and table.of_kind("pick", "code"))
    assert table.title is not None
    column = sampler.numeric_column(table)
    words, where, coded_columns = sampler.condition(table)
    return Candidate(
        CHALLENGING,
        f"How many {table.plural} {words} have a {column.noun} above the average of all {table.plural}?",
        f"SELECT COUNT(*) FROM {table.name} WHERE {where} AND {column.name} > (SELECT AVG({column.name}) FROM {table.name})",
        coded_columns,
    )


def parents_without_children(sampler: SchemaSampler) -> Candidate:
    child, key, parent = sampler.foreign_key()
    assert parent.title is not None
    coded_columns: tuple[Column, ...] = ()
    subquery, words = f"SELECT {key.name} FROM {child.name}", ""
    if child.of_kind("pick", "code") and sampler.rng.random() < 0.6:
        words, condition, coded_columns = sampler.condition(child)
        words, subquery = f" {words}", f"{subquery} WHERE {condition}"
    elif child.of_kind("date"):
        column = sampler.choice(child.of_kind("date"))
        year = sampler.year(column)
        words, subquery = f" with a {column.noun} in {year}", f"{subquery} WHERE strftime('%Y', {column.name}) = '{year}'"
    parent_coded_columns: tuple[Column, ...] = ()
    parent_condition, parent_words = "", ""
    if parent.of_kind("pick", "code") and sampler.rng.random() < 0.5:
        parent_words, condition, parent_coded_columns = sampler.condition(parent)
        parent_words, parent_condition = f" {parent_words}", f" AND {condition}"
    return Candidate(
        CHALLENGING,
        f"Which {parent.plural}{parent_words} have no {child.plural}{words}?",
        f"SELECT {parent.title.name} FROM {parent.name} WHERE id NOT IN ({subquery}){parent_condition}",
        (*coded_columns, *parent_coded_columns),
    )


def aggregate_per_parent_group(sampler: SchemaSampler) -> Candidate:
    child, key, parent = sampler.foreign_key()
    group, column = sampler.choice(parent.of_kind("pick")), sampler.numeric_column(child)
    word, function = sampler.choice([("average", "AVG"), ("total", "SUM"), ("highest", "MAX")])
    coded_columns: tuple[Column, ...] = ()
    where, words = "", ""
    if child.of_kind("pick", "code") and sampler.rng.random() < 0.5:
        words, condition, coded_columns = sampler.condition(child, "c.")
        words, where = f" {words}", f" WHERE {condition}"
    return Candidate(
        CHALLENGING,
        f"What is the {word} {column.noun} of the {child.plural}{words} for each {group.noun} of their {parent.name}?",
        f"SELECT p.{group.name}, {function}(c.{column.name}) FROM {child.name} c JOIN {parent.name} p ON c.{key.name} = p.id{where}"
        f" GROUP BY p.{group.name}",
        coded_columns,
    )
