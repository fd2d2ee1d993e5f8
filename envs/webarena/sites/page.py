"""What a page can hold, and the one template (page.html) that makes HTML of it.

Invariant: every line is 24 pixels high and none wraps, so that what is in view does not depend on the fonts of the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, Template

FILE = Path(__file__).with_name("page.html")


@dataclass(frozen=True, slots=True)
class Link:
    text: str
    to: str


@dataclass(frozen=True, slots=True)
class Heading:
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Links:
    """A line of links."""

    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Cells are text or links."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str | Link, ...]]


@dataclass(frozen=True, slots=True)
class Field:
    """`choices`: radio buttons; `hidden`: sent, not seen."""

    name: str
    label: str = ""
    value: str = ""
    choices: tuple[str, ...] = ()
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    to: str
    button: str
    fields: tuple[Field, ...] = ()
    method: str = "post"


Block = Heading | Text | Links | Table | Form


@dataclass(frozen=True, slots=True)
class Page:
    title: str
    blocks: list[Block] = field(default_factory=list)


@lru_cache(maxsize=1)
def _template() -> Template:
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(FILE.read_text(encoding="ascii"))


def html(page: Page, site: str, nav: tuple[Link, ...]) -> str:
    """The page with its site's links at the top."""
    return _template().render(page=page, site=site, nav=nav)
