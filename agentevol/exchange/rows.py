"""Files of rows, as other projects share them: JSON lines, a JSON list, or Parquet.

Invariant: a row is a dictionary of JSON values, and an error names the file and the number of the row, counted from 1. Writing is atomic:
the file appears complete or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from agentevol.data.formats import FormatError

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".json", ".parquet")


def stream_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, in order. A .json file may hold a list, or one row per line. Raises FormatError.

    JSON lines and Parquet need the memory of a few rows, a JSON list that of the file.
    """
    path = Path(path)
    try:
        yield from _checked(path, _stream(path))
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise FormatError(f"{path}: cannot be read (not UTF-8 text)") from None


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows in the format that the file's name ends in; returns their number. Raises FormatError, FileExistsError.

    In Parquet, lists and objects whose keys differ from row to row (`tools`, `arguments`) are JSON text.
    """
    path = Path(path)
    suffix = _suffix(path)
    if path.exists():
        raise FileExistsError(f"{path} already exists: give another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        count = {".jsonl": _write_lines, ".json": _write_list, ".parquet": _write_parquet}[suffix](temporary, rows)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _suffix(path: Path) -> str:
    if path.suffix.lower() not in SUFFIXES:
        raise FormatError(f"{path}: the name ends in {path.suffix!r}; allowed: {', '.join(SUFFIXES)}")
    return path.suffix.lower()


def _stream(path: Path) -> Iterator[Any]:
    if _suffix(path) == ".parquet":
        yield from _stream_parquet(path)
        return
    with path.open(encoding="utf-8-sig") as file:
        start = next((line for line in file if line.strip()), "")
        file.seek(0)
        if start.lstrip().startswith("["):
            yield from _parse(file.read(), f"{path}")
            return
        number = 0
        for line in file:
            if line.strip():
                number += 1
                yield _parse(line, f"{path}: row {number}")


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise FormatError(f"{where}: not valid JSON: {error}") from None
    except (RecursionError, ValueError) as error:  # nested too deeply, or a number of thousands of digits
        raise FormatError(f"{where}: cannot be parsed as JSON: {error}") from None


def _stream_parquet(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(256):
                yield from (_without_nulls(row) for row in batch.to_pylist())
    except pa.ArrowException as error:
        raise FormatError(f"{path}: cannot be read as Parquet: {' '.join(str(error).split())}") from None


def _without_nulls(value: Any) -> Any:
    """Without the keys that are null: Parquet has every key in every row. Entries of lists stay, because their place counts."""
    if isinstance(value, dict):
        return {key: _without_nulls(entry) for key, entry in value.items() if entry is not None}
    return [_without_nulls(entry) for entry in value] if isinstance(value, list) else value


def _checked(path: Path, rows: Iterator[Any]) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise FormatError(f"{path}: row {number}: {type(row).__name__} given; allowed: an object with keys and values")
        yield row


def _write_lines(path: Path, rows: Iterable[Row]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_list(path: Path, rows: Iterable[Row]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for count, row in enumerate(rows, 1):
            file.write(("[\n" if count == 1 else ",\n") + json.dumps(row, ensure_ascii=False))
        file.write("\n]\n" if count else "[]\n")
    return count


def _write_parquet(path: Path, rows: Iterable[Row]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fixed = [_fixed_keys(row) for row in rows]
    names = list(dict.fromkeys(key for row in fixed for key in row))  # pyarrow takes those of the first row
    table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in fixed])
    pq.write_table(table, path, compression="zstd")
    return int(table.num_rows)


_FREE_KEYS = ("tools", "arguments")


def _fixed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: json.dumps(entry, ensure_ascii=False) if key in _FREE_KEYS and not isinstance(entry, str) else _fixed_keys(entry)
            for key, entry in value.items()
        }
    return [_fixed_keys(entry) for entry in value] if isinstance(value, list) else value
