"""The sources of questions and databases: the generated ones that ship, or a folder of the real BIRD.

Invariant: a gold query leaves this module only for the environment's judgement and for the scripted expert.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from envs.bird.generated_databases import generated_database

QUESTIONS_FILE = Path(__file__).with_name("questions.json")


class InvalidBirdFolder(ValueError):
    """The folder is not one of BIRD's; the message names what is missing or wrong."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `evidence`: the knowledge it needs besides the schema, such as the meaning of a code."""

    number: int
    database: str
    text: str
    evidence: str
    sql: str
    difficulty: str


class QuestionSource(Protocol):
    @property
    def questions(self) -> dict[int, Question]: ...
    def database_bytes(self, name: str) -> bytes:
        """A database as the bytes of a SQLite file."""
        ...


class GeneratedQuestions:
    """The questions and databases that ship."""

    @property
    def questions(self) -> dict[int, Question]:
        return _generated_questions()

    def database_bytes(self, name: str) -> bytes:
        return generated_database(name)


class BirdFolder:
    """A folder of the real BIRD: dev.json or train.json, and <databases>/<db_id>/<db_id>.sqlite anywhere below it.

    Raises InvalidBirdFolder.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        files = [self.path / name for name in ("dev.json", "train.json") if (self.path / name).is_file()]
        if not files:
            raise InvalidBirdFolder(f"{self.path} has neither dev.json nor train.json; give the folder that BIRD's archive unpacks to")
        self.questions = _read_questions(files[0])
        self._databases = {file.stem: file for file in sorted(self.path.rglob("*.sqlite"))}

    def database_bytes(self, name: str) -> bytes:
        try:
            return self._databases[name].read_bytes()
        except KeyError:
            raise InvalidBirdFolder(f"{self.path} has no {name}.sqlite, which its questions use; unpack BIRD's databases there") from None


@lru_cache(maxsize=None)
def _generated_questions() -> dict[int, Question]:
    return _read_questions(QUESTIONS_FILE)


def _read_questions(file: Path) -> dict[int, Question]:
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
        raise InvalidBirdFolder(f"{file} is not a list of questions with db_id, question and SQL: {error!r}") from None
    return {question.number: question for question in questions}
