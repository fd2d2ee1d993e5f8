"""Makes questions.json, the 3,200 questions that ship: `python -m envs.bird.choose`.

A question is kept when its answer has 1 to 20 rows of something known, does not hang on how ties are broken, and nothing else is worded
like it. Templates and databases take turns, so that the front of the list is as mixed as the whole.
"""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path

from envs.bird.database import same_rows
from envs.bird.schemas import database_bytes, schemas
from envs.bird.templates import TEMPLATES, Draft, NoQuestion, Writer

FILE = Path(__file__).with_name("questions.json")
COUNT = 3200
_TRIES = 60
_MOST_ROWS = 20


def choose() -> list[dict[str, object]]:
    """The questions, in the form of BIRD's own files."""
    writers = {name: _writer(name) for name in schemas()}
    found: list[dict[str, object]] = []
    said: set[str] = set()
    while len(found) < COUNT:
        before = len(found)
        for template in TEMPLATES:
            for name, writer in writers.items():
                for _ in range(_TRIES):
                    try:
                        draft = template(writer)
                    except NoQuestion:
                        break
                    if draft.question not in said and _good(writer.database, draft):
                        said.add(draft.question)
                        found.append(_entry(len(found), name, draft))
                        break
        if len(found) == before:
            raise RuntimeError(f"the templates give {before} questions, not {COUNT}: write more of them")
    return found[:COUNT]


def _writer(name: str) -> Writer:
    database = sqlite3.connect(":memory:")
    database.deserialize(database_bytes(name))
    return Writer(database, schemas()[name], random.Random(f"questions about {name}"))


def _good(database: sqlite3.Connection, draft: Draft) -> bool:
    rows = database.execute(draft.sql).fetchall()
    if not 1 <= len(rows) <= _MOST_ROWS or any(value is None for row in rows for value in row):
        return False
    if rows == [(0,)] or len({row[0] for row in rows}) < len(rows):
        return False
    if " LIMIT " not in draft.sql:
        return True
    tied = [database.execute(draft.sql.replace(" LIMIT", f", 1 {way} LIMIT")).fetchall() for way in ("ASC", "DESC")]
    return same_rows(*tied)


def _entry(number: int, name: str, draft: Draft) -> dict[str, object]:
    hints = [
        f"{column.name} = '{code}' means {meaning}" for column in dict.fromkeys(draft.coded) for code, meaning in column.meanings.items()
    ]
    used = [hint for hint in hints if hint.partition(" means")[0] in draft.sql]
    return {
        "question_id": number,
        "db_id": name,
        "question": draft.question,
        "evidence": "; ".join(used),
        "SQL": draft.sql,
        "difficulty": draft.difficulty,
    }


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(entry) for entry in choose())
    FILE.write_text(f"[\n{lines}\n]\n", encoding="ascii")
    print(f"{FILE}: {COUNT} questions")
