"""The scripted expert of BIRD: it answers with the gold query."""

from __future__ import annotations

import re

from envs.bird.question_sources import Question


class GoldQueryExpert:
    """Gives the gold query; its thought names the tables and the steps of the query."""

    def __init__(self, question: Question) -> None:
        self._question = question

    def act(self, observation: str) -> tuple[str, str]:
        sql = self._question.sql
        tables = list(dict.fromkeys(re.findall(r"(?:FROM|JOIN) (\w+)", sql)))
        if "NOT IN" in sql:
            sources = f"I take the rows of {tables[0]} that {tables[1]} does not refer to"
        else:
            sources = f"I need the table {tables[0]}" if len(tables) == 1 else f"I join {' and '.join(tables)}"
        return f"{', '.join([sources, *(step for keyword, step in _STEPS if keyword in sql)])}.", sql


_STEPS = (
    ("CASE", "count the share"),
    (" WHERE ", "keep the rows that are asked for"),
    ("strftime", "compare the year"),
    ("GROUP BY", "group them"),
    ("HAVING", "keep the large groups"),
    ("ORDER BY", "order them and take the first"),
)
