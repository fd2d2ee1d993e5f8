"""BIRD: answer a question about a database with one SQL query.

Invariant: an episode has a private copy of its database; nothing but reading is possible on it, and the gold query is never told.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import ClassVar

from envs.base import Expert, Instruction, InvalidAction, Sizes, TextEnv, UnknownItem, stable_order
from envs.bird.database import Database, Row, Unanswerable, same_rows
from envs.bird.source import Question, Shipped, Source, schema_text

_ITEM_ID = re.compile(r"bird_(0|[1-9][0-9]{0,8})")
_FENCED = re.compile(r"```(?:sql|SQL)?[ \t]*\n?(.*?)```", re.DOTALL)
_LONGEST_RESULT = 300
_GOLD_SECONDS = 30.0


class Bird(TextEnv):
    """Text-to-SQL after BIRD (arXiv 2305.03111) as AgentGym serves it (sqlgym).

    Observation: the tables, the question, what one must know of codes; later, what was wrong with a query. Action: one SELECT statement,
    after `Action:` on a line, or in a ```sql block. Reward: 1 when the rows are those of the gold query as a set (BIRD's rule, numbers to
    six digits), else 0; a query that gives rows ends the episode. At most 5 rounds. Instructions: 3,200 questions over 13 databases
    made from a seed (envs/bird/schemas.txt), 200 of them eval; simple, moderate and challenging as filtering and
    figures; grouping, joins, dates; nesting, having, shares. The project's own text and data;
    `Bird(Folder(path))` reads the real BIRD where a user has it.

    Where it differs from AgentGym's, and why:
    - The real BIRD cannot be shipped: databases, questions and queries are generated.
    - A statement that gives no rows (an error, not a SELECT, too slow) is told its error and costs a round; there, any statement ends the
      episode. What failed to run is no answer yet.
    - The gold query never leaves the environment; there, every reply carries it.
    - Queries have a time limit of 0.5 s and at most 1,000 rows, and run on a copy that refuses everything but reading.
    - Every episode is its own; there, the ninth session shares the first one's.
    """

    name: ClassVar[str] = "bird"
    task_types: ClassVar[tuple[str, ...]] = ("bird",)
    sizes: ClassVar[Sizes] = Sizes(instructions=3200, eval=200, agent_traj=2000, agent_traj_l=3000)
    max_rounds: ClassVar[int] = 5
    prompt: ClassVar[str] = (
        "Answer the question about the database with one SQLite query. You may only read. The first query that gives rows is your answer.\n"
        "Answer with one thought and one query each turn:\n"
        "Thought: ...\n"
        "Action: SELECT ..."
    )

    def __init__(self, source: Source | None = None, render_mode: str | None = None) -> None:
        """`source`: other questions and databases than the shipped ones, such as `envs.bird.source.Folder(path)`."""
        super().__init__(render_mode)
        self.source: Source = source or Shipped()
        self._database: Database | None = None
        self._gold: list[Row] = []
        self._question: Question | None = None

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    def begin(self, item_id: str) -> str:
        found = _ITEM_ID.fullmatch(item_id)
        question = self.source.questions.get(int(found[1])) if found else None
        if question is None:
            raise UnknownItem(f"bird has no instruction {item_id!r}; there are {len(self.source.questions)}, such as bird_0")
        self.close()
        content = self.source.content(question.database)
        self._database, self._question = Database(content), question
        self._gold = self._database.rows(question.sql, _GOLD_SECONDS)
        hint = f"\nHint: {question.evidence}" if question.evidence else ""
        return _ascii(f"Database {question.database}:\n{_schema(content)}\n\nQuestion: {question.text}{hint}")

    def act(self, action: str) -> tuple[str, float, bool]:
        assert self._database is not None, "reset() opens it"
        try:
            rows = self._database.rows(action)
        except Unanswerable as error:
            return f"No rows: {_ascii(str(error))[:_LONGEST_RESULT]}", 0.0, False
        return f"Result: {_told(rows)}", float(same_rows(rows, self._gold)), True

    def expert(self) -> Expert:
        assert self._question is not None, "reset() chooses it"
        return Scribe(self._question)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    @classmethod
    def parse_action(cls, text: str) -> str:
        """One ```sql block, or what stands after the one `Action:`. Raises InvalidAction."""
        _, *after = text.split("Action:")
        blocks = [block.strip() for block in _FENCED.findall(text)]
        if len(blocks) == 1 and blocks[0] and len(after) <= 1:
            return str(blocks[0])
        if blocks or len(after) != 1 or not after[0].strip():
            raise InvalidAction("Give exactly one action, in the form:\nThought: ...\nAction: SELECT ...")
        return after[0].strip()


class Scribe:
    """Writes the gold query down, and in its thought says which tables and conditions it needs."""

    def __init__(self, question: Question) -> None:
        self._question = question

    def act(self, observation: str) -> tuple[str, str]:
        sql = self._question.sql
        tables = list(dict.fromkeys(re.findall(r"(?:FROM|JOIN) (\w+)", sql)))
        if "NOT IN" in sql:
            needs = f"I take the rows of {tables[0]} that {tables[1]} does not refer to"
        else:
            needs = f"I need the table {tables[0]}" if len(tables) == 1 else f"I join {' and '.join(tables)}"
        return f"{', '.join([needs, *(words for mark, words in _STEPS if mark in sql)])}.", sql


_STEPS = (
    ("CASE", "count the share"),
    (" WHERE ", "keep the rows that are asked for"),
    ("strftime", "compare the year"),
    ("GROUP BY", "group them"),
    ("HAVING", "keep the large groups"),
    ("ORDER BY", "order them and take the first"),
)


def _told(rows: list[Row]) -> str:
    text = ", ".join(str(row[0]) if len(row) == 1 else str(row) for row in rows[:50]) or "no rows"
    return _ascii(text)[:_LONGEST_RESULT]


def _ascii(text: str) -> str:
    return "".join(char if " " <= char <= "~" or char == "\n" else "?" for char in text)


@lru_cache(maxsize=64)
def _schema(content: bytes) -> str:
    return schema_text(content)


@lru_cache(maxsize=None)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    everything = [
        Instruction(f"bird_{number}", "bird", "bird", question.difficulty, f"{question.database}: {question.text}")
        for number, question in Shipped().questions.items()
    ]
    ordered = sorted(stable_order(everything, "bird eval"), key=lambda item: item.difficulty)
    count = Bird.sizes.eval
    chosen = {ordered[(2 * step + 1) * len(ordered) // (2 * count)].item_id for step in range(count)}
    training = tuple(item for item in everything if item.item_id not in chosen)
    return training, tuple(item for item in everything if item.item_id in chosen)
