"""BIRD: answer a question about a database with one SQL query.

Invariant: an episode has a private, read-only copy of its database, and no observation contains the gold query.
"""

from __future__ import annotations

import re
import sqlite3
from functools import lru_cache
from typing import ClassVar

from envs.base import ActionForm, Expert, Instruction, Sizes, TextEnv, UnknownItem, split_off_eval
from envs.bird.expert import GoldQueryExpert
from envs.bird.question_sources import GeneratedQuestions, Question, QuestionSource
from envs.bird.schema_text import schema_text
from envs.bird.sql_execution import QueryError, ReadOnlyDatabase, Row, same_rows
from envs.functions import Function, function
from envs.printable import printable

_ITEM_ID = re.compile(r"bird_(0|[1-9][0-9]{0,8})")
_MAX_RESULT_CHARS = 300
_GOLD_TIMEOUT_SECONDS = 30.0
_MAX_STATEMENT_ENDS = 20
"""So many ends of lines are tried as the end of the statement: a long text of semicolons must not take long."""


class Bird(TextEnv):
    """Text-to-SQL after BIRD (arXiv 2305.03111) as AgentGym serves it (sqlgym).

    Observation: first the tables, the question and a hint about codes; then the error of the last query. Action: one SELECT statement,
    after `Action:` or in a ```sql block. Reward: 1 if the rows equal those of the gold query as a set (BIRD's execution accuracy, numbers
    to six digits), else 0; a query that gives rows ends the episode. Progress: None, because one query is the whole answer. At most 5
    rounds. Instructions: 3,200 questions over 13 databases generated from a seed (envs/bird/schemas.txt), 200 of them eval. Difficulty:
    simple (filters, aggregates), moderate (grouping, joins, dates) or challenging (subqueries, HAVING, percentages).
    `Bird(BirdFolder(path))` reads a copy of the real BIRD.

    Differences from AgentGym's environment:
    - The databases, questions and queries are generated, because the real BIRD cannot be shipped.
    - A statement without rows (an error, not a SELECT, too slow) returns its error and costs a round; in AgentGym, any statement ends the
      episode. Here a query that failed to run is not an answer yet.
    - The gold query never leaves the environment; in AgentGym, every reply contains it.
    - The clock of queries stands at 2025-01-01 00:00:00 UTC, so that a query gives the same rows on every day.
    - Queries are limited to 0.5 s, 1,000 rows and 10 MB of values, and run on a read-only copy in a separate process.
    - Episodes share no state; in AgentGym, the ninth session shares that of the first.
    """

    name: ClassVar[str] = "bird"
    version: ClassVar[int] = 2
    task_types: ClassVar[tuple[str, ...]] = ("bird",)
    sizes: ClassVar[Sizes] = Sizes(instructions=3200, eval=200, agent_traj=2000, agent_traj_l=3000)
    max_rounds: ClassVar[int] = 5
    functions: ClassVar[tuple[Function, ...]] = (function("Run one SQLite SELECT statement.", "{sql}", name="query"),)
    action_form: ClassVar[ActionForm] = ActionForm("Action: SELECT ...", multiline=True, fenced=True)
    prompt: ClassVar[str] = (
        "Answer the question about the database with one SQLite query. You may only read. The first query that gives rows is your answer.\n"
        "Answer with one thought and one query each turn:\n"
        "Thought: ...\n"
        "Action: SELECT ..."
    )

    def __init__(self, source: QuestionSource | None = None, render_mode: str | None = None) -> None:
        """`source`: questions and databases; the generated ones by default, or e.g. `envs.bird.question_sources.BirdFolder(path)`."""
        super().__init__(render_mode)
        self.source: QuestionSource = source or GeneratedQuestions()
        self._database: ReadOnlyDatabase | None = None
        self._gold_rows: list[Row] = []
        self._question: Question | None = None

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    def begin(self, item_id: str) -> str:
        match = _ITEM_ID.fullmatch(item_id)
        question = self.source.questions.get(int(match[1])) if match else None
        if question is None:
            raise UnknownItem(f"bird has no instruction {item_id!r}; there are {len(self.source.questions)}, such as bird_0")
        self.close()
        content = self.source.database_bytes(question.database)
        self._database, self._question = ReadOnlyDatabase(content), question
        self._gold_rows = self._database.execute(question.sql, _GOLD_TIMEOUT_SECONDS)
        hint = f"\nHint: {question.evidence}" if question.evidence else ""
        return printable(f"Database {question.database}:\n{schema_text(content)}\n\nQuestion: {question.text}{hint}")

    def act(self, action: str) -> tuple[str, float, bool]:
        assert self._database is not None, "reset() opens it"
        try:
            rows = self._database.execute(action)
        except QueryError as error:
            return f"No rows: {printable(str(error))[:_MAX_RESULT_CHARS]}", 0.0, False
        return f"Result: {_result_text(rows)}", float(same_rows(rows, self._gold_rows)), True

    def expert(self) -> Expert:
        assert self._question is not None, "reset() chooses it"
        return GoldQueryExpert(self._question)

    def close(self) -> None:
        self._database = None

    @classmethod
    def parse_action(cls, text: str) -> str:
        """One ```sql block, or the text after `Action:` up to the end of its first statement. Raises InvalidAction."""
        return _first_statement(super().parse_action(text))


def _result_text(rows: list[Row]) -> str:
    texts: list[str] = []
    for row in rows[:50]:
        texts.append(str(row[0]) if len(row) == 1 else str(row))
        if sum(map(len, texts)) > _MAX_RESULT_CHARS:
            break
    return printable((", ".join(texts) or "no rows")[:_MAX_RESULT_CHARS])


def _first_statement(action: str) -> str:
    """The action without what is written in the lines after a complete statement, unless that is a comment."""
    lines = action.split("\n")
    for number in [number for number, line in enumerate(lines) if line.rstrip().endswith(";")][:_MAX_STATEMENT_ENDS]:
        statement, rest = "\n".join(lines[: number + 1]), "\n".join(lines[number + 1 :]).lstrip()
        if sqlite3.complete_statement(statement):
            return action if rest.startswith(("--", "/*")) else statement.rstrip()
    return action


@lru_cache(maxsize=None)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    everything = [
        Instruction(f"bird_{number}", "bird", "bird", question.difficulty, f"{question.database}: {question.text}")
        for number, question in GeneratedQuestions().questions.items()
    ]
    return split_off_eval(everything, Bird.sizes.eval, salt="bird eval")
