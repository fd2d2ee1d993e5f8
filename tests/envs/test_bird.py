"""BIRD: what a query may do, what counts as the answer, and folders of the real BIRD."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from pathlib import Path

import pytest

from envs.base import InvalidAction
from envs.bird import Bird
from envs.bird.database import Database, Unanswerable, same_rows
from envs.bird.generate import choose
from envs.bird.schemas import database_bytes, schemas
from envs.bird.source import BadFolder, Folder, Shipped


def started(number: int = 0) -> Bird:
    env = Bird()
    env.reset(options={"item_id": f"bird_{number}"})
    return env


def test_twelve_databases_or_more_with_tables_that_refer_to_one_another() -> None:
    assert len(schemas()) >= 12
    for name, tables in schemas().items():
        assert 3 <= len(tables) <= 6, name
        database = sqlite3.connect(":memory:")
        database.deserialize(database_bytes(name))
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        assert any(table.of_kind("ref") for table in tables)


def test_the_questions_are_those_that_the_templates_give() -> None:
    shipped = [(question.text, question.sql) for question in Shipped().questions.values()]
    assert shipped == [(entry["question"], entry["SQL"]) for entry in choose()]


def test_questions_have_their_share_of_every_difficulty_and_construct() -> None:
    questions = Shipped().questions.values()
    difficulties = Counter(question.difficulty for question in questions)
    assert set(difficulties) == {"simple", "moderate", "challenging"}
    assert min(difficulties.values()) > 500
    for construct in ("JOIN", "GROUP BY", "HAVING", "NOT IN (SELECT", "strftime", "CASE", "IS NULL", "ORDER BY", "(SELECT AVG"):
        assert sum(construct in question.sql for question in questions) > 40, construct


def test_the_first_observation_has_tables_values_question_and_hint() -> None:
    number = next(number for number, question in Shipped().questions.items() if question.evidence)
    observation, _ = Bird().reset(options={"item_id": f"bird_{number}"})
    question = Shipped().questions[number]
    assert f"\n\nQuestion: {question.text}\nHint: {question.evidence}" in observation
    assert all(f"{table.name}(id integer, " in observation for table in schemas()[question.database])
    assert "integer -> " in observation


def test_the_gold_query_is_told_to_nobody() -> None:
    env = started()
    gold = Shipped().questions[0].sql
    told = [env.render() or "", *map(str, env.step("SELECT nothing"))]
    assert not any(gold in text for text in told)


def test_rows_count_as_a_set_and_numbers_to_six_digits() -> None:
    assert same_rows([(1, "a"), (2, "b")], [(2.0, "b"), (1, "a"), (1, "a")])
    assert same_rows([(1 / 3,)], [(0.33333333,)])
    assert not same_rows([(1,)], [(1,), (2,)])
    assert not same_rows([("1",)], [(1,)])


def test_another_query_with_the_same_rows_wins_and_other_rows_end_the_episode() -> None:
    gold = Shipped().questions[0].sql
    observation, reward, terminated, _, info = started().step(f"SELECT * FROM ({gold});")
    assert (reward, terminated, info["success"]) == (1.0, True, True)
    assert observation.startswith("Result: ")
    _, reward, terminated, _, info = started().step("SELECT 'something else'")
    assert (reward, terminated, info["success"]) == (0.0, True, False)


def test_what_gives_no_rows_is_told_and_may_be_mended() -> None:
    env = started()
    observation, reward, terminated, *_ = env.step("SELECT salery FROM teacher")
    assert (observation, reward, terminated) == ("No rows: no such column: salery", 0.0, False)
    assert env.step(Shipped().questions[0].sql)[1] == 1.0


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM school",
        "DROP TABLE school",
        "INSERT INTO school (name) VALUES ('x')",
        "CREATE TABLE t (x)",
        "ATTACH DATABASE '/tmp/agentevol-attached.db' AS other",
        "PRAGMA query_only = OFF",
        "VACUUM INTO '/tmp/agentevol-vacuum.db'",
        "SELECT load_extension('/tmp/x.so')",
        "SELECT 1; DROP TABLE school",
        "BEGIN",
        "EXPLAIN SELECT 1; SELECT 2",
    ],
)
def test_nothing_but_reading(sql: str) -> None:
    database = Database(database_bytes("school"))
    before = database.rows("SELECT COUNT(*) FROM school")
    with pytest.raises(Unanswerable):
        database.rows(sql)
    assert database.rows("SELECT COUNT(*) FROM school") == before
    assert not list(Path("/tmp").glob("agentevol-*.db"))


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n",
        "SELECT COUNT(*) FROM exam a, exam b, exam c",
        "SELECT hex(zeroblob(1000000000))",
        "SELECT group_concat(a.id || b.id) FROM exam a, exam b",
        "SELECT a.id FROM exam a, exam b",
        "SELECT " + "(" * 5000 + "1" + ")" * 5000,
        "SELECT " + "abs(" * 900 + "1" + ")" * 900,
    ],
)
def test_a_query_that_asks_for_too_much_ends_soon(sql: str) -> None:
    began = time.monotonic()
    with pytest.raises(Unanswerable):
        Database(database_bytes("school")).rows(sql)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Thought: a\nAction: SELECT 1", "SELECT 1"),
        ("Thought: a\n\nAction:\nSELECT 1\nFROM t\n", "SELECT 1\nFROM t"),
        ("Thought: a\n\nAction: ```sql\nSELECT 1\n```", "SELECT 1"),
        ("It is this:\n```sql\nSELECT 1```", "SELECT 1"),
    ],
)
def test_bare_and_fenced_queries_are_read(text: str, action: str) -> None:
    assert Bird.parse_action(text) == action


@pytest.mark.parametrize(
    "text", ["```sql\nSELECT 1\n```\n```sql\nSELECT 2\n```", "SELECT 1", "Action: SELECT 1\nAction: SELECT 2", "Action: ```sql\n```"]
)
def test_more_or_less_than_one_query_is_refused(text: str) -> None:
    with pytest.raises(InvalidAction):
        Bird.parse_action(text)


def test_a_folder_of_the_real_bird(tmp_path: Path) -> None:
    base = tmp_path / "dev_databases" / "shop"
    base.mkdir(parents=True)
    database = sqlite3.connect(base / "shop.sqlite")
    database.execute("CREATE TABLE `the item` (id INTEGER PRIMARY KEY, name TEXT, price REAL)")
    database.execute("INSERT INTO `the item` VALUES (1, 'lamp é', 3.5)")
    database.commit()
    asked = {
        "question_id": 7,
        "db_id": "shop",
        "question": "What costs 3.5?",
        "evidence": "",
        "SQL": "SELECT name FROM `the item`",
        "difficulty": "simple",
    }
    (tmp_path / "dev.json").write_text(json.dumps([asked]))
    env = Bird(Folder(tmp_path))
    observation, _ = env.reset(options={"item_id": "bird_7"})
    assert observation == "Database shop:\nthe item(id integer, name text [lamp ?], price real)\n\nQuestion: What costs 3.5?"
    assert env.step("SELECT name FROM `the item` WHERE price = 3.5")[1] == 1.0


def test_a_folder_that_is_not_birds_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BadFolder, match=r"neither dev\.json nor train\.json"):
        Folder(tmp_path)
    (tmp_path / "dev.json").write_text('[{"question": "?"}]')
    with pytest.raises(BadFolder, match="db_id"):
        Folder(tmp_path)
