"""The Parquet schema follows the fields of Trajectory: a new column is added there and nowhere else."""

from __future__ import annotations

from dataclasses import fields, make_dataclass
from pathlib import Path
from typing import Literal

import pytest

from agentevol.data import parquet
from agentevol.data.parquet import from_batch, schema, to_table
from agentevol.data.trajectory import COLUMNS, MEASURES, OPTIONAL_COLUMNS, Column, Message, Trajectory, columns
from tests.agentevol.counting import play_counting


def test_every_field_is_a_column_in_order_and_nullable_only_if_it_may_be_none() -> None:
    complete = schema(frozenset(column.name for column in OPTIONAL_COLUMNS))
    assert complete.names == [field.name for field in fields(Trajectory)]
    assert schema().names == [name for name in complete.names if name not in ("message_seconds", *MEASURES, "token_logprobs")]
    assert {column.name for column in COLUMNS if column.optional} == {field.name for field in schema() if field.nullable}
    assert {field.name for field in fields(Trajectory) if field.default is None} == {field.name for field in complete if field.nullable}


def test_annotations_become_column_types() -> None:
    record = make_dataclass("Record", [("a", Literal["x", "y"]), ("b", int | None), ("c", list[Message]), ("d", list[bool] | None)])
    expected = (Column("a", str), Column("b", int, optional=True), Column("c", list, Message), Column("d", list, bool, optional=True))
    assert columns(record) == expected


def test_a_new_field_is_written_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    extended = make_dataclass("Extended", [("scores", list[float] | None, None), ("note", str, "")], bases=(Trajectory,), slots=True)
    monkeypatch.setattr(parquet, "COLUMNS", columns(extended))
    monkeypatch.setattr(parquet, "Trajectory", extended)
    schema.cache_clear()
    try:
        plain = play_counting(4, ["5"])
        values = {field.name: getattr(plain, field.name) for field in fields(Trajectory)}
        rows = [extended(**values, scores=[0.5, 1.0], note="é"), extended(**values)]
        table = to_table(rows)
        assert (str(table.schema.field("scores").type), table.schema.field("note").nullable) == ("list<item: double>", False)
        pq.write_table(table, tmp_path / "rows.parquet")
        (batch,) = pq.ParquetFile(tmp_path / "rows.parquet").iter_batches()
        assert list(from_batch(batch)) == rows
    finally:
        schema.cache_clear()
