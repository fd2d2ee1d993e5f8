"""BIRD: the limits of SQL execution, execution accuracy, and folders of the real BIRD."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from envs.base import InvalidAction
from envs.bird import Bird
from envs.bird.generate import generate_questions
from envs.bird.generated_databases import generated_database, schemas
from envs.bird.question_sources import BirdFolder, GeneratedQuestions, InvalidBirdFolder
from envs.bird.sql_execution import QueryError, ReadOnlyDatabase, same_rows
from tests.processes import command_of

COUNT = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
LONG, LONG_TOO = (f"replace(hex(zeroblob({size})), '0', 'a')" for size in (49999, 24000))


def start(number: int = 0) -> Bird:
    env = Bird()
    env.reset(options={"item_id": f"bird_{number}"})
    return env


def test_at_least_twelve_databases_with_valid_foreign_keys() -> None:
    assert len(schemas()) >= 12
    for name, tables in schemas().items():
        assert 3 <= len(tables) <= 6, name
        database = sqlite3.connect(":memory:")
        database.deserialize(generated_database(name))
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        assert any(table.of_kind("ref") for table in tables)


@pytest.mark.slow
def test_the_shipped_questions_are_those_that_the_templates_generate() -> None:
    shipped = [(question.text, question.sql) for question in GeneratedQuestions().questions.values()]
    assert shipped == [(entry["question"], entry["SQL"]) for entry in generate_questions()]


def test_every_difficulty_and_sql_construct_is_frequent() -> None:
    questions = GeneratedQuestions().questions.values()
    difficulties = Counter(question.difficulty for question in questions)
    assert set(difficulties) == {"simple", "moderate", "challenging"}
    assert min(difficulties.values()) > 500
    for construct in ("JOIN", "GROUP BY", "HAVING", "NOT IN (SELECT", "strftime", "CASE", "IS NULL", "ORDER BY", "(SELECT AVG"):
        assert sum(construct in question.sql for question in questions) > 40, construct


def test_the_first_observation_contains_schema_values_question_and_hint() -> None:
    number = next(number for number, question in GeneratedQuestions().questions.items() if question.evidence)
    observation, _ = Bird().reset(options={"item_id": f"bird_{number}"})
    question = GeneratedQuestions().questions[number]
    assert f"\n\nQuestion: {question.text}\nHint: {question.evidence}" in observation
    assert all(f"{table.name}(id integer, " in observation for table in schemas()[question.database])
    assert "integer -> " in observation


def test_no_observation_or_info_contains_the_gold_query() -> None:
    env = start()
    gold_sql = GeneratedQuestions().questions[0].sql
    texts = [env.render() or "", *map(str, env.step("SELECT nothing"))]
    assert not any(gold_sql in text for text in texts)


def test_rows_are_compared_as_a_set_and_numbers_to_six_digits() -> None:
    assert same_rows([(1, "a"), (2, "b")], [(2.0, "b"), (1, "a"), (1, "a")])
    assert same_rows([(1 / 3,)], [(0.33333333,)])
    assert not same_rows([(1,)], [(1,), (2,)])
    assert not same_rows([("1",)], [(1,)])


def test_a_different_query_with_the_same_rows_succeeds_and_wrong_rows_end_the_episode() -> None:
    gold_sql = GeneratedQuestions().questions[0].sql
    observation, reward, terminated, _, info = start().step(f"SELECT * FROM ({gold_sql});")
    assert (reward, terminated, info["success"]) == (1.0, True, True)
    assert observation.startswith("Result: ")
    _, reward, terminated, _, info = start().step("SELECT 'something else'")
    assert (reward, terminated, info["success"]) == (0.0, True, False)


def test_a_failed_query_returns_its_error_and_can_be_corrected() -> None:
    env = start()
    observation, reward, terminated, *_ = env.step("SELECT salery FROM teacher")
    assert (observation, reward, terminated) == ("No rows: no such column: salery", 0.0, False)
    assert env.step(GeneratedQuestions().questions[0].sql)[1] == 1.0


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
def test_only_reading_is_allowed(sql: str) -> None:
    database = ReadOnlyDatabase(generated_database("school"))
    before = database.execute("SELECT COUNT(*) FROM school")
    with pytest.raises(QueryError):
        database.execute(sql)
    assert database.execute("SELECT COUNT(*) FROM school") == before
    assert not list(Path("/tmp").glob("agentevol-*.db"))


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n",
        "SELECT COUNT(*) FROM exam a, exam b, exam c",
        "SELECT hex(zeroblob(1000000000))",
        "SELECT group_concat(a.id || b.id) FROM exam a, exam b",
        "SELECT a.id FROM exam a, exam b",
        f"{COUNT} SELECT {', '.join(['zeroblob(100000)'] * 20)} FROM n LIMIT 200",
        f"SELECT {', '.join(['hex(zeroblob(49999))'] * 150)}",
        f"{COUNT} SELECT x FROM n GROUP BY zeroblob(90000 + x % 9000) ORDER BY 1 LIMIT 2",
        f"SELECT {LONG} LIKE '%' || {LONG_TOO} || 'b'",
        "SELECT " + ", ".join([f"instr({LONG}, {LONG_TOO} || 'b')"] * 40),
        "SELECT " + "(" * 5000 + "1" + ")" * 5000,
        "SELECT " + "abs(" * 900 + "1" + ")" * 900,
    ],
)
def test_an_expensive_query_is_stopped_within_seconds(sql: str) -> None:
    started_at = time.monotonic()
    with pytest.raises(QueryError):
        ReadOnlyDatabase(generated_database("school")).execute(sql)
    assert time.monotonic() - started_at < 5


def test_a_query_that_ends_its_process_does_not_affect_the_next_one() -> None:
    database = ReadOnlyDatabase(generated_database("school"))
    for sql, message in ((f"SELECT {LONG} LIKE '%' || {LONG_TOO} || 'b'", "more than 0.5 s"), (MANY_LONG_VALUES, "memory")):
        with pytest.raises(QueryError, match=message):
            database.execute(sql, timeout=0.5 if "0.5" in message else 60)
        assert database.execute("SELECT 1") == [(1,)]


MANY_LONG_VALUES = f"{COUNT}, t AS MATERIALIZED (SELECT hex(zeroblob(49000)) AS v FROM n LIMIT 6000) SELECT COUNT(*) FROM t"


def test_a_query_process_that_was_killed_is_replaced_without_an_error() -> None:
    database = ReadOnlyDatabase(generated_database("school"))
    assert database.execute("SELECT 1") == [(1,)]
    for child in psutil.Process().children():
        if any("query_process" in part for part in command_of(child)):
            child.kill()
    assert database.execute("SELECT 2") == [(2,)]


@pytest.mark.parametrize(
    ("sql", "row"),
    [
        ("SELECT date('now'), time('NOW'), datetime('n' || 'ow')", ("2025-01-01", "00:00:00", "2025-01-01 00:00:00")),
        ("SELECT CURRENT_TIMESTAMP, CURRENT_DATE, CURRENT_TIME", ("2025-01-01 00:00:00", "2025-01-01", "00:00:00")),
        ("SELECT strftime('%Y', 'now', '-30 years'), date(), julianday()", ("1995", "2025-01-01", 2460676.5)),
        ("SELECT strftime('%Y'), datetime(x'6e6f77', 'localtime'), unixepoch('now', 'utc')", ("2025", "2025-01-01 00:00:00", 1735689600)),
        ("SELECT strftime('now', '2001-02-03'), date('2001-02-03', '+1 day'), date(NULL)", ("now", "2001-02-04", None)),
        ("SELECT strftime('%s', '2001-02-03 04:05:06', 'localtime') - strftime('%s', '2001-02-03 04:05:06')", (0,)),
    ],
)
def test_the_clock_of_queries_stands_still(sql: str, row: tuple[object, ...]) -> None:
    assert ReadOnlyDatabase(generated_database("school")).execute(sql) == [row]


@pytest.mark.parametrize("function", ["random()", "sqlite_version()", "sqlite_compileoption_get(1)", "fts5_source_id()"])
def test_no_query_depends_on_the_machine(function: str) -> None:
    with pytest.raises(QueryError):
        ReadOnlyDatabase(generated_database("school")).execute(f"SELECT {function}")


def test_every_type_of_value_is_returned_unchanged() -> None:
    database = ReadOnlyDatabase(generated_database("school"))
    row = database.execute("SELECT NULL, 9223372036854775807, 0.1, 9e999, x'00ff', 'caf\u00e9', ''")
    assert row == [(None, 9223372036854775807, 0.1, float("inf"), b"\x00\xff", "caf\u00e9", "")]


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Thought: a\nAction: SELECT 1", "SELECT 1"),
        ("Thought: a\n\nAction:\nSELECT 1\nFROM t\n", "SELECT 1\nFROM t"),
        ("Thought: a\n\nAction: ```sql\nSELECT 1\n```", "SELECT 1"),
        ("It is this:\n```sql\nSELECT 1```", "SELECT 1"),
    ],
)
def test_bare_and_fenced_queries_are_parsed(text: str, action: str) -> None:
    assert Bird.parse_action(text) == action


@pytest.mark.parametrize(
    "text", ["```sql\nSELECT 1\n```\n```sql\nSELECT 2\n```", "SELECT 1", "Action: SELECT 1\nAction: SELECT 2", "Action: ```sql\n```"]
)
def test_more_or_less_than_one_query_is_rejected(text: str) -> None:
    with pytest.raises(InvalidAction):
        Bird.parse_action(text)


def test_a_folder_of_the_real_bird(tmp_path: Path) -> None:
    base = tmp_path / "dev_databases" / "shop"
    base.mkdir(parents=True)
    database = sqlite3.connect(base / "shop.sqlite")
    database.execute("CREATE TABLE `the item` (id INTEGER PRIMARY KEY, name TEXT, price REAL)")
    database.execute("INSERT INTO `the item` VALUES (1, 'lamp é', 3.5)")
    database.commit()
    entry = {
        "question_id": 7,
        "db_id": "shop",
        "question": "What costs 3.5?",
        "evidence": "",
        "SQL": "SELECT name FROM `the item`",
        "difficulty": "simple",
    }
    (tmp_path / "dev.json").write_text(json.dumps([entry]))
    env = Bird(BirdFolder(tmp_path))
    observation, _ = env.reset(options={"item_id": "bird_7"})
    assert observation == "Database shop:\nthe item(id integer, name text [lamp ?], price real)\n\nQuestion: What costs 3.5?"
    assert env.step("SELECT name FROM `the item` WHERE price = 3.5")[1] == 1.0


def test_an_invalid_bird_folder_is_rejected_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(InvalidBirdFolder, match=r"neither dev\.json nor train\.json"):
        BirdFolder(tmp_path)
    (tmp_path / "dev.json").write_text('[{"question": "?"}]')
    with pytest.raises(InvalidBirdFolder, match="db_id"):
        BirdFolder(tmp_path)
