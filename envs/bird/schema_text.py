"""A database's schema as text for the first observation.

Invariant: the text depends on the content of the database alone.
"""

from __future__ import annotations

import sqlite3
from functools import lru_cache

_MAX_LISTED_VALUES = 6
_MAX_CHARS = 6_000


@lru_cache(maxsize=64)
def schema_text(content: bytes) -> str:
    """One line per table: its columns, foreign keys, and the values of text columns with few distinct ones. `content`: a SQLite file."""
    database = sqlite3.connect(":memory:")
    database.deserialize(content)
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")]
    lines = [_table_text(database, table) for table in tables]
    database.close()
    return "\n".join(lines)[:_MAX_CHARS]


def _table_text(database: sqlite3.Connection, table: str) -> str:
    table_name = _quote(table)
    foreign_keys = {row[3]: f" -> {row[2]}.{row[4] or 'id'}" for row in database.execute(f"PRAGMA foreign_key_list({table_name})")}
    columns = []
    for _, name, sql_type, *_ in database.execute(f"PRAGMA table_info({table_name})"):
        values = _distinct_values(database, table_name, _quote(name)) if sql_type.upper().startswith("TEXT") else ""
        columns.append(f"{name} {sql_type.lower()}{foreign_keys.get(name, '')}{values}")
    return f"{table}({', '.join(columns)})"


def _distinct_values(database: sqlite3.Connection, table: str, column: str) -> str:
    query = f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY 1 LIMIT {_MAX_LISTED_VALUES + 1}"
    values = [str(row[0]) for row in database.execute(query)]
    return f" [{'|'.join(values)}]" if len(values) <= _MAX_LISTED_VALUES else ""


def _quote(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
