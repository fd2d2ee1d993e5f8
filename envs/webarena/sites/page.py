"""The building blocks of a page, and the template (page.html) that renders them as HTML.

Invariant: every line is 24 pixels high and none wraps, so that the visible part of a page does not depend on the machine's fonts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, Template

_TEMPLATE_FILE = Path(__file__).with_name("page.html")


@dataclass(frozen=True, slots=True)
class Link:
    text: str
    href: str


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
    """An input of a form. `choices`: radio buttons instead of a text box; `hidden`: sent but not shown."""

    name: str
    label: str = ""
    value: str = ""
    choices: tuple[str, ...] = ()
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    action: str
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
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_TEMPLATE_FILE.read_text(encoding="ascii"))


def render_html(page: Page, site: str, nav: tuple[Link, ...]) -> str:
    """The page's HTML, with the site's title and navigation links at the top."""
    return _template().render(page=page, site=site, nav=nav)
