"""When a task is done: WebArena's string, URL and program checks (arXiv 2307.13854, section 3.2), without a judge that is a model.

Invariant: all checks of a task must hold; they are made once, when the policy stops.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from envs.webarena.sites.store import Store


@dataclass(frozen=True, slots=True)
class Said:
    """The answer. `exact`: it is that text; else it holds each of the texts."""

    texts: tuple[str, ...]
    exact: bool = True


@dataclass(frozen=True, slots=True)
class At:
    """The page that is open at the end: one of these addresses, whatever else its query says."""

    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holds:
    """The sites' data: the query gives this number."""

    sql: str
    values: tuple[str | int | float, ...]
    count: int = 1


@dataclass(frozen=True, slots=True)
class Shows:
    """A page of a real site: the text of an element (a JavaScript expression; the whole page without one) holds one of the texts.

    `url`: the page to open, `last` for the one that is open, or `func:shopping_get_latest_order_url()` and its kind, which is refused.
    """

    url: str
    locator: str
    texts: tuple[str, ...]
    exact: bool = False


Check = Said | At | Holds | Shows


def met(check: Check, answer: str, page: Any, store: Store | None) -> bool:
    """Whether a check holds. `page`: Playwright's, in the browser's thread."""
    return _CHECKS[type(check)](check, answer, page, store)


def _said(check: Said, answer: str, page: Any, store: Store | None) -> bool:
    given = tidy(answer)
    if check.exact:
        return given == tidy(check.texts[0])
    return all(_within(tidy(text), given) for text in check.texts)


def _at(check: At, answer: str, page: Any, store: Store | None) -> bool:
    return any(same_page(page.url, url) for url in check.urls)


def _holds(check: Holds, answer: str, page: Any, store: Store | None) -> bool:
    assert store is not None, "the project's own sites have one"
    found = store.row(check.sql, check.values)
    return found is not None and found[0] == check.count


def _shows(check: Shows, answer: str, page: Any, store: Store | None) -> bool:
    if check.url != "last" and not same_page(page.url, check.url):
        page.goto(check.url)
    expression = check.locator.removesuffix(";") or "document.body.outerText"
    found = tidy(str(page.evaluate(f"() => {{ try {{ return {expression} ?? ''; }} catch (error) {{ return ''; }} }}")))
    return any(found == tidy(text) if check.exact else tidy(text) in found for text in check.texts)


_CHECKS: dict[type, Callable[..., bool]] = {Said: _said, At: _at, Holds: _holds, Shows: _shows}


def tidy(text: str) -> str:
    """WebArena's cleaning of answers: no quotes around it, small letters, single blanks."""
    text = " ".join(text.split())
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    return text.lower().strip()


def _within(text: str, given: str) -> bool:
    """A number or a single word must stand by itself: 1 is not in 10."""
    return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", given) is not None


def same_page(url: str, wanted: str) -> bool:
    """Host and path are the same, and what the wanted query says is said."""
    here, there = urlsplit(url), urlsplit(wanted)
    if (here.netloc, here.path.rstrip("/")) != (there.netloc, there.path.rstrip("/")):
        return False
    return set(parse_qsl(there.query)) <= set(parse_qsl(here.query))
