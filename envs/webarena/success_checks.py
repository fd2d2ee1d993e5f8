"""The checks that decide whether a task succeeded: WebArena's string_match, url_match and program_html (arXiv 2307.13854, section 3.2).

Invariant: no check uses a language model. All checks of a task must pass; they run once, when the policy stops.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from envs.webarena.sites.database import SiteDatabase


@dataclass(frozen=True, slots=True)
class StringMatch:
    """The answer equals the first text (`exact`), or contains each of the texts."""

    texts: tuple[str, ...]
    exact: bool = True


@dataclass(frozen=True, slots=True)
class UrlMatch:
    """The page that is open at the end matches one of these URLs (see `url_matches`)."""

    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DbQuery:
    """The query on the sites' data gives this number. Replaces program_html on the project's own sites."""

    sql: str
    values: tuple[str | int | float, ...]
    count: int = 1


@dataclass(frozen=True, slots=True)
class PageContent:
    """program_html: the text of an element equals (`exact`) or contains one of the texts.

    `url`: the page to load, or `last` for the one that is open, with what was typed into it; `locator`: a JavaScript expression, or empty
    for the whole page.
    """

    url: str
    locator: str
    texts: tuple[str, ...]
    exact: bool = False


Check = StringMatch | UrlMatch | DbQuery | PageContent


def passes(check: Check, answer: str, page: Any, database: SiteDatabase | None) -> bool:
    """Whether a check passes. `page`: Playwright's, so call it in the browser's thread; `database`: of the project's own sites."""
    return _CHECK_FUNCTIONS[type(check)](check, answer, page, database)


def holds_so_far(check: Check, page: Any, database: SiteDatabase | None) -> bool:
    """Whether a check on the open page's URL or on the sites' data would pass now. False for one that needs the answer or a page's text,
    which only `passes` checks: reading a page takes time and may open another one."""
    return isinstance(check, UrlMatch | DbQuery) and passes(check, "", page, database)


def count_passed(checks: Sequence[Check], answer: str, page: Any, database: SiteDatabase | None) -> int:
    """How many checks pass; after the first one that fails, the others are only checked as in `holds_so_far`. Call it as `passes`."""
    count, failed = 0, False
    for check in checks:
        passed = holds_so_far(check, page, database) if failed else passes(check, answer, page, database)
        count, failed = count + passed, failed or not passed
    return count


def _string_match(check: StringMatch, answer: str, page: Any, database: SiteDatabase | None) -> bool:
    cleaned = clean_text(answer)
    if check.exact:
        return cleaned == clean_text(check.texts[0])
    return all(_contains_word(cleaned, clean_text(text)) for text in check.texts)


def _url_match(check: UrlMatch, answer: str, page: Any, database: SiteDatabase | None) -> bool:
    return any(url_matches(page.url, url) for url in check.urls)


def _db_query(check: DbQuery, answer: str, page: Any, database: SiteDatabase | None) -> bool:
    assert database is not None, "only the project's own sites have one"
    row = database.first_row(check.sql, check.values)
    return row is not None and row[0] == check.count


def _page_content(check: PageContent, answer: str, page: Any, database: SiteDatabase | None) -> bool:
    if check.url != "last":
        page.goto("about:blank")  # from the same page, a URL with # would only scroll
        page.goto(check.url)
    expression = check.locator.removesuffix(";") or "document.body.outerText"
    content = clean_text(str(page.evaluate(f"() => {{ try {{ return {expression} ?? ''; }} catch (error) {{ return ''; }} }}")))
    return any(content == clean_text(text) if check.exact else clean_text(text) in content for text in check.texts)


_CHECK_FUNCTIONS: dict[type, Callable[..., bool]] = {
    StringMatch: _string_match,
    UrlMatch: _url_match,
    DbQuery: _db_query,
    PageContent: _page_content,
}


def clean_text(text: str) -> str:
    """WebArena's cleaning of answers: no surrounding quotes, lower case, single spaces."""
    text = " ".join(text.split())
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    return text.lower().strip()


def _contains_word(text: str, word: str) -> bool:
    """Whether the text contains the word or phrase as a whole: 10 does not contain 1."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def url_matches(url: str, reference: str) -> bool:
    """Whether host and path are equal, and the URL has all query parameters of the reference; others are allowed."""
    parts, reference_parts = urlsplit(url), urlsplit(reference)
    if (parts.netloc, parts.path.rstrip("/")) != (reference_parts.netloc, reference_parts.path.rstrip("/")):
        return False
    return set(parse_qsl(reference_parts.query)) <= set(parse_qsl(parts.query))
