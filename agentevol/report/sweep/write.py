"""The sections as one HTML file that needs no network, and as Markdown with its pictures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agentevol.report.sweep.model import Sweep
from agentevol.report.sweep.records import NotARecord, read_records
from agentevol.report.sweep.section import Section
from agentevol.report.sweep.sections import sections

TEMPLATE = Path(__file__).with_name("page.html")
HTML, MARKDOWN = "report.html", "report.md"


def write_report(folder: Path, sweep: Sweep, title: str) -> Path:
    """Write report.html, report.md and the pictures (SVG) into `folder`; returns the HTML file. Raises ValueError for an empty sweep."""
    from jinja2 import Environment
    from markupsafe import Markup

    if not sweep.chains:
        raise ValueError("a sweep's report needs at least one run that is done")
    parts = sections(sweep)
    folder.mkdir(parents=True, exist_ok=True)
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(title=title, sections=parts, svg=Markup)
    (folder / HTML).write_text(page, encoding="utf-8")
    (folder / MARKDOWN).write_text(_markdown(title, parts), encoding="utf-8")
    for part in parts:
        for name, svg in part.pictures.items():
            (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    return folder / HTML


def compare(records: Sequence[Path], folder: Path, title: str) -> Path:
    """`write_report` for chains from their records, files or folders of them. Raises NotARecord."""
    files: list[Path] = []
    for given in records:
        found = sorted(given.glob("*.json")) if given.is_dir() else [given]
        if not found:
            raise NotARecord(f"{given}: no records (*.json) in this folder; `agentevol sweep` writes them below runs/sweeps/<name>/records")
        files += found
    return write_report(folder, read_records(files), title)


def _markdown(title: str, parts: Sequence[Section]) -> str:
    lines = [f"# {title}", ""]
    for part in parts:
        lines += [f"## {part.title}", ""]
        lines += [part.says, ""] if part.says else []
        for table in part.tables:
            lines += [_row(table.header), _row(["---"] * len(table.header)), *map(_row, table.rows), ""]
        lines += [f"![{name}]({name}.svg)" for name in part.pictures]
        lines += [""] if part.pictures else []
        for summary, text in part.unfold:
            fence = "~~~~"
            lines += ["<details>", f"<summary>{summary}</summary>", "", fence, text, fence, "", "</details>", ""]
    return "\n".join(lines).rstrip() + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
