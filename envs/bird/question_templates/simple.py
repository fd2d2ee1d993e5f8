"""Simple questions: one condition, one aggregate or one row."""

from __future__ import annotations

from envs.bird.question_templates.sampler import SIMPLE, Candidate, SchemaSampler


def count_rows(sampler: SchemaSampler) -> Candidate:
    table = sampler.table(lambda table: table.of_kind("pick", "code"))
    words, sql, coded_columns = sampler.condition(table)
    question = sampler.choice([f"How many {table.plural} are there {words}?", f"Count the {table.plural} {words}."])
    return Candidate(SIMPLE, question, f"SELECT COUNT(*) FROM {table.name} WHERE {sql}", coded_columns)


def aggregate_of_all(sampler: SchemaSampler) -> Candidate:
    table = sampler.table(lambda table: table.of_kind("int", "real"))
    column = sampler.numeric_column(table)
    word, function = sampler.choice([("average", "AVG"), ("highest", "MAX"), ("lowest", "MIN"), ("total", "SUM")])
    if table.of_kind("pick", "code") and sampler.rng.random() < 0.7:
        words, where, coded_columns = sampler.condition(table)
        return Candidate(
            SIMPLE,
            f"What is the {word} {column.noun} of the {table.plural} {words}?",
            f"SELECT {function}({column.name}) FROM {table.name} WHERE {where}",
            coded_columns,
        )
    return Candidate(
        SIMPLE, f"What is the {word} {column.noun} of all {table.plural}?", f"SELECT {function}({column.name}) FROM {table.name}"
    )


def value_of_row(sampler: SchemaSampler) -> Candidate:
    table = sampler.table(lambda table: table.title)
    title = table.title
    assert title is not None
    column = sampler.choice(table.of_kind("int", "real", "date", "pick"))
    name = sampler.row_name(table, title)
    return Candidate(
        SIMPLE,
        f"What is the {column.noun} of the {table.name} {name}?",
        f"SELECT {column.name} FROM {table.name} WHERE {title.name} = '{name}'",
    )


def outliers(sampler: SchemaSampler) -> Candidate:
    table = sampler.table(lambda table: table.title and table.of_kind("int", "real"))
    assert table.title is not None
    column = sampler.numeric_column(table)
    above = sampler.rng.random() < 0.5
    bound = sampler.quantile(table, column, 0.95 if above else 0.05)
    word, operator = ("above", ">") if above else ("below", "<")
    return Candidate(
        SIMPLE,
        sampler.choice(
            [f"List the {table.plural} with a {column.noun} {word} {bound}.", f"Which {table.plural} have a {column.noun} {word} {bound}?"]
        ),
        f"SELECT {table.title.name} FROM {table.name} WHERE {column.name} {operator} {bound}",
    )
