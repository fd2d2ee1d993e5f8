"""The results of the GPU command: JSON lines in a file, and a table of them.

Invariant: a line is appended whole, and the last line of a cell counts. A cell is done if it has figures of the same device and mode.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

GOALS = {"share of the matrix rate": 0.4, "against bare, vLLM": 0.8, "times generate": 10.0}
"""Of an 80 GB card in bfloat16: training from 0.6 billion parameters on, vLLM, and the transformers engine."""


def read(file: Path) -> dict[str, dict[str, Any]]:
    """The last line of every cell, by name. A line that was cut by a kill is ignored."""
    cells: dict[str, dict[str, Any]] = {}
    for text in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        cells[line["cell"]] = line
    return cells


def append(file: Path, line: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    cut = file.is_file() and file.stat().st_size and not file.read_bytes().endswith(b"\n")
    with file.open("a", encoding="utf-8") as stream:
        stream.write(("\n" if cut else "") + json.dumps(line) + "\n")


def is_done(line: Mapping[str, Any] | None, device: str, dry_run: bool) -> bool:
    return line is not None and "figures" in line and (line["device"], line["dry run"]) == (device, dry_run)


def table(cells: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    """One row for each figure of the cells in `names`; a cell without figures is one row with its reason."""
    rows = ["| cell | figure | value |", "|---|---|---|"]
    for name in names:
        line = cells.get(name, {"error": "not run"})
        if "figures" not in line:
            rows.append(f"| {name} | – | {line['error']} |")
            continue
        for figure, value in line["figures"].items():
            rows.append(f"| {name} | {figure} | {_format(value)}{_goal(name, figure)} |")
    return "\n".join(rows)


def _format(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _goal(cell: str, figure: str) -> str:
    key = f"{figure}, vLLM" if cell == "playing-vllm" else figure
    return f" (goal {GOALS[key]:g})" if key in GOALS and cell != "training-0.3" else ""
