"""Small pieces of Markdown that several generated pages use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table. A cell may contain a vertical bar and line breaks."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def cell(value: object) -> str:
    return re.sub(r"\s*\n\s*", " ", str(value)).replace("|", "\\|")


def code(value: object) -> str:
    """Inline code; an empty text stays empty."""
    text = str(value)
    return f"`{text}`" if text else ""


def block(text: str, language: str = "text") -> str:
    """A fenced block whose fence is longer than any in the text."""
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def lists_separated(text: str) -> str:
    """The text with an empty line before every list, which Markdown needs and docstrings leave out."""
    return re.sub(r"^(?!- |  )(.+)\n(?=- )", r"\1\n\n", text, flags=re.MULTILINE)


_LABEL = re.compile(
    r"(?:^|(?<=[.;)] ))(?:(Item id|Observation|Actions?|Reward|Progress|Success|Task types|Instructions|Difficulty)((?:, [^:.]*)?): "
    r"|(?=At most \d+ rounds\.))"
)


def labels_listed(text: str) -> str:
    """The text with a list for every paragraph of two or more parts such as `Reward: ...`, one point per part."""
    return "\n\n".join(_labels_listed(paragraph) for paragraph in text.split("\n\n"))


def _labels_listed(paragraph: str) -> str:
    if re.search(r"^- ", paragraph, re.MULTILINE):
        return paragraph
    line = " ".join(paragraph.split())
    found = list(_LABEL.finditer(line))
    if len(found) < 2:
        return paragraph
    ends = [match.start() for match in found[1:]] + [len(line)]
    points = [_point(match, line[match.end() : end].strip()) for match, end in zip(found, ends, strict=True)]
    opening = line[: found[0].start()].strip()
    return "\n\n".join(filter(None, [opening, "\n".join(points)]))


def _point(match: re.Match[str], text: str) -> str:
    return f"- **{match[1]}**{match[2]}: {text}" if match[1] else f"- {text}"
