"""Files of rows are read in three formats, an error names the row, and a file is written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentevol.data.formats import FormatError
from agentevol.exchange.rows import stream_rows, write_rows


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.jsonl", b'{"a": 1}\n\n{"a": \n', "row 2: not valid JSON"),
        ("a.json", b"[1, ", "a.json: not valid JSON"),
        ("a.jsonl", b"\xff\xfe", "not UTF-8 text"),
        ("a.jsonl", b"[" * 100_000, "cannot be parsed as JSON"),
        ("a.parquet", b"x", "cannot be read as Parquet"),
        ("a.csv", b"", "the name ends in '.csv'; allowed: .jsonl, .json, .parquet"),
        ("absent.jsonl", None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, file: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(FormatError) as caught:
        list(stream_rows(tmp_path / file))
    assert message in str(caught.value)


def test_a_json_file_is_a_list_or_one_row_per_line(tmp_path: Path) -> None:
    for text in ('[{"a": 1},\n {"a": 2}]', '\n{"a": 1}\n{"a": 2}'):
        (tmp_path / "rows.json").write_text(text)
        assert list(stream_rows(tmp_path / "rows.json")) == [{"a": 1}, {"a": 2}]


def test_no_file_is_left_where_writing_fails(tmp_path: Path) -> None:
    def rows() -> Any:
        yield {"a": 1}
        raise FormatError("broken")

    with pytest.raises(FormatError, match="broken"):
        write_rows(tmp_path / "rows.jsonl", rows())
    assert list(tmp_path.iterdir()) == []
