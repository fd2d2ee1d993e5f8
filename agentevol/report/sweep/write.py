"""Writes the report of a sweep as one HTML file that needs no network, and as Markdown with its figures in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agentevol.report.sweep.model import Sweep
from agentevol.report.sweep.records import RecordError, read_records
from agentevol.report.sweep.section import Section
from agentevol.report.sweep.sections import sections

TEMPLATE = Path(__file__).with_name("page.html")
HTML, MARKDOWN = "report.html", "report.md"


def write_sweep_report(folder: Path, sweep: Sweep, title: str) -> Path:
    """Write report.html, report.md and the figures (SVG) into `folder`; returns the HTML file. Raises ValueError for an empty sweep."""
    from jinja2 import Environment
    from markupsafe import Markup

    if not sweep.results:
        raise ValueError("the report of a sweep needs at least one finished run")
    parts = sections(sweep)
    folder.mkdir(parents=True, exist_ok=True)
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(title=title, sections=parts, svg=Markup)
    (folder / HTML).write_text(page, encoding="utf-8")
    (folder / MARKDOWN).write_text(_markdown(title, parts), encoding="utf-8")
    for section in parts:
        for name, svg in section.figures.items():
            (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    return folder / HTML


def compare_records(paths: Sequence[Path], folder: Path, title: str) -> Path:
    """Write the report of the records in `paths`, which are files or folders of them. Raises RecordError."""
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found:
            raise RecordError(f"{path}: no records (*.json) in this folder; `agentevol sweep` writes them to runs/sweeps/<name>/records")
        files += found
    return write_sweep_report(folder, read_records(files), title)


def _markdown(title: str, parts: Sequence[Section]) -> str:
    lines = [f"# {title}", ""]
    for section in parts:
        lines += [f"## {section.title}", ""]
        lines += [section.text, ""] if section.text else []
        for table in section.tables:
            lines += [_row(table.header), _row(["---"] * len(table.header)), *map(_row, table.rows), ""]
        lines += [f"![{name}]({name}.svg)" for name in section.figures]
        lines += [""] if section.figures else []
        for summary, text in section.details:
            fence = "~~~~"
            lines += ["<details>", f"<summary>{summary}</summary>", "", fence, text, fence, "", "</details>", ""]
    return "\n".join(lines).rstrip() + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
