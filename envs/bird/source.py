"""Where questions and databases come from: the project's own, or a folder of the real BIRD.

Invariant: a gold query leaves this module only for the environment's judgement and for the scripted expert.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from envs.bird.schemas import database_bytes

_FILE = Path(__file__).with_name("questions.json")
_FEW_VALUES = 6
_LONGEST_SCHEMA = 6_000


class BadFolder(ValueError):
    """A folder is not one of BIRD's; the message says what is missing or wrong."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `evidence`: what one must know besides the schema, such as what a code means."""

    number: int
    database: str
    text: str
    evidence: str
    sql: str
    difficulty: str


class Source(Protocol):
    @property
    def questions(self) -> dict[int, Question]: ...
    def content(self, database: str) -> bytes:
        """A database as the bytes of a SQLite file."""
        ...


class Shipped:
    """The project's own databases and questions."""

    @property
    def questions(self) -> dict[int, Question]:
        return _shipped()

    def content(self, database: str) -> bytes:
        return database_bytes(database)


class Folder:
    """A folder of the real BIRD: dev.json or train.json, and <databases>/<db_id>/<db_id>.sqlite anywhere below it.

    Raises BadFolder.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        files = [self.path / name for name in ("dev.json", "train.json") if (self.path / name).is_file()]
        if not files:
            raise BadFolder(f"{self.path} has neither dev.json nor train.json; give the folder that BIRD's archive unpacks to")
        self.questions = _read(files[0])
        self._databases = {file.stem: file for file in sorted(self.path.rglob("*.sqlite"))}

    def content(self, database: str) -> bytes:
        try:
            return self._databases[database].read_bytes()
        except KeyError:
            raise BadFolder(f"{self.path} has no {database}.sqlite, which its questions ask about; unpack the databases there") from None


@lru_cache(maxsize=None)
def _shipped() -> dict[int, Question]:
    return _read(_FILE)


def _read(file: Path) -> dict[int, Question]:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        questions = [
            Question(
                number=entry.get("question_id", number),
                database=entry["db_id"],
                text=entry["question"],
                evidence=entry.get("evidence", ""),
                sql=entry["SQL"],
                difficulty=entry.get("difficulty", "unknown"),
            )
            for number, entry in enumerate(entries)
        ]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadFolder(f"{file} is not a list of questions with db_id, question and SQL: {error!r}") from None
    return {question.number: question for question in questions}


def schema_text(content: bytes) -> str:
    """A database's tables in a line each: columns, what refers to what, and the values of columns that have few."""
    database = sqlite3.connect(":memory:")
    database.deserialize(content)
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")]
    lines = [_table_text(database, table) for table in tables]
    database.close()
    return "\n".join(lines)[:_LONGEST_SCHEMA]


def _table_text(database: sqlite3.Connection, table: str) -> str:
    quoted = '"' + table.replace('"', '""') + '"'
    refers = {row[3]: f" -> {row[2]}.{row[4] or 'id'}" for row in database.execute(f"PRAGMA foreign_key_list({quoted})")}
    columns = []
    for _, name, kind, *_ in database.execute(f"PRAGMA table_info({quoted})"):
        values = _few_values(database, quoted, name) if kind.upper().startswith("TEXT") else ""
        columns.append(f"{name} {kind.lower()}{refers.get(name, '')}{values}")
    return f"{table}({', '.join(columns)})"


def _few_values(database: sqlite3.Connection, table: str, column: str) -> str:
    name = '"' + column.replace('"', '""') + '"'
    asked = f"SELECT DISTINCT {name} FROM {table} WHERE {name} IS NOT NULL ORDER BY 1 LIMIT {_FEW_VALUES + 1}"
    values = [str(row[0]) for row in database.execute(asked)]
    return f" [{'|'.join(values)}]" if len(values) <= _FEW_VALUES else ""
