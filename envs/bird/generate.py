"""Generates questions.json, the 3,200 questions that ship: `python -m envs.bird.generate`.

A candidate is kept if its answer has 1 to 20 rows without NULL, does not depend on how ties are broken, and no earlier question has the
same text. Templates and databases take turns, so that any prefix of the list is as mixed as the whole.
"""

from __future__ import annotations

import json
import random
import sqlite3

from envs.bird.generated_databases import generated_database, schemas
from envs.bird.question_sources import QUESTIONS_FILE
from envs.bird.question_templates.all_templates import TEMPLATES
from envs.bird.question_templates.sampler import Candidate, SchemaSampler, TemplateNotApplicable
from envs.bird.sql_execution import same_rows

NUM_QUESTIONS = 3200
_ATTEMPTS = 60
_MAX_ROWS = 20


def generate_questions() -> list[dict[str, object]]:
    """The questions, in the format of BIRD's own files. Raises RuntimeError if the templates give too few."""
    samplers = {name: _sampler(name) for name in schemas()}
    entries: list[dict[str, object]] = []
    texts: set[str] = set()
    while len(entries) < NUM_QUESTIONS:
        before = len(entries)
        for template in TEMPLATES:
            for name, sampler in samplers.items():
                for _ in range(_ATTEMPTS):
                    try:
                        candidate = template(sampler)
                    except TemplateNotApplicable:
                        break
                    if candidate.question not in texts and _is_good(sampler.database, candidate):
                        texts.add(candidate.question)
                        entries.append(_entry(len(entries), name, candidate))
                        break
        if len(entries) == before:
            raise RuntimeError(f"the templates give {before} questions, not {NUM_QUESTIONS}: write more of them")
    return entries[:NUM_QUESTIONS]


def _sampler(name: str) -> SchemaSampler:
    database = sqlite3.connect(":memory:")
    database.deserialize(generated_database(name))
    return SchemaSampler(database, schemas()[name], random.Random(f"questions about {name}"))


def _is_good(database: sqlite3.Connection, candidate: Candidate) -> bool:
    rows = database.execute(candidate.sql).fetchall()
    if not 1 <= len(rows) <= _MAX_ROWS or any(value is None for row in rows for value in row):
        return False
    if rows == [(0,)] or len({row[0] for row in rows}) < len(rows):
        return False
    if " LIMIT " not in candidate.sql:
        return True
    ascending, descending = (
        database.execute(candidate.sql.replace(" LIMIT", f", 1 {order} LIMIT")).fetchall() for order in ("ASC", "DESC")
    )
    return same_rows(ascending, descending)


def _entry(number: int, name: str, candidate: Candidate) -> dict[str, object]:
    hints = [
        f"{column.name} = '{code}' means {meaning}"
        for column in dict.fromkeys(candidate.coded_columns)
        for code, meaning in column.meanings.items()
    ]
    used = [hint for hint in hints if hint.partition(" means")[0] in candidate.sql]
    return {
        "question_id": number,
        "db_id": name,
        "question": candidate.question,
        "evidence": "; ".join(used),
        "SQL": candidate.sql,
        "difficulty": candidate.difficulty,
    }


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(entry) for entry in generate_questions())
    QUESTIONS_FILE.write_text(f"[\n{lines}\n]\n", encoding="ascii")
    print(f"{QUESTIONS_FILE}: {NUM_QUESTIONS} questions")
