"""The parts of a long experiment whose records exist: `parts.txt` beside the records, one name per line. The records are committed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

FILE = "parts.txt"


def finished_parts(records: Path) -> set[str]:
    file = records / FILE
    return set(file.read_text(encoding="utf-8").split()) if file.is_file() else set()


def add_finished_part(records: Path, name: str, parts: Iterable[str]) -> None:
    """`parts`: the order of the names in the file."""
    finished = {*finished_parts(records), name}
    (records / FILE).write_text("".join(f"{part}\n" for part in parts if part in finished), encoding="utf-8")
