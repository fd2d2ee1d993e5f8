"""Reads WebArena's own task files (config_files/test.raw.json), for tasks on external sites.

Invariant: a task with a check that needs a language model as judge cannot be started; no check is skipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.webarena.site_proxy import Address, address_of
from envs.webarena.success_checks import Check, PageContent, StringMatch, UrlMatch

_URL_PLACEHOLDERS = {
    "shopping": "__SHOPPING__",
    "shopping_admin": "__SHOPPING_ADMIN__",
    "reddit": "__REDDIT__",
    "gitlab": "__GITLAB__",
    "wikipedia": "__WIKIPEDIA__",
    "map": "__MAP__",
    "homepage": "__HOMEPAGE__",
}
"""The files have a placeholder for the URL of each site."""


@dataclass(frozen=True, slots=True)
class ExternalTask:
    """A task of a file, on external sites. `sites`: those that may be opened; `entry`: the task as it is in the file."""

    intent: str
    start_url: str
    sites: frozenset[Address]
    entry: Mapping[str, Any]

    @property
    def checks(self) -> tuple[Check, ...]:
        """Raises ValueError for a check that is not supported."""
        return tuple(_parse_checks(self.entry["eval"], self.intent))


def read_tasks(file: Path, urls: Mapping[str, str]) -> tuple[ExternalTask, ...]:
    """The tasks of a file. `urls`: by site; the browser can reach these addresses alone, so name the hosts that the sites load from, too.

    Raises ValueError for an invalid file, and for a site without a URL.
    """
    sites = frozenset(_site_address(site, url) for site, url in urls.items())
    text = file.read_text(encoding="utf-8")
    for site, placeholder in _URL_PLACEHOLDERS.items():
        if placeholder in text:
            if site not in urls:
                raise ValueError(f"{file} has tasks on {site}; say where it is, e.g. WebArena(config=..., urls={{{site!r}: 'http://...'}})")
            text = text.replace(placeholder, urls[site].rstrip("/"))
    try:
        entries = json.loads(text)
        return tuple(ExternalTask(entry["intent"], entry["start_url"].split(" |AND| ")[0], sites, entry) for entry in entries)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{file} is not a list of WebArena's tasks (intent, start_url, eval): {error}") from None


def _site_address(site: str, url: str) -> Address:
    address = address_of(url)
    if address is None:
        raise ValueError(f"urls: {site} is at {url!r}, which is no address such as http://host:port")
    return address


def _parse_checks(evaluation: Mapping[str, Any], intent: str) -> list[Check]:
    checks: list[Check] = []
    for eval_type in evaluation["eval_types"]:
        if eval_type == "string_match":
            checks += _string_matches(evaluation["reference_answers"], intent)
        elif eval_type == "url_match":
            checks.append(UrlMatch(tuple(evaluation["reference_url"].split(" |OR| "))))
        elif eval_type == "program_html":
            checks += [check for entry in evaluation["program_html"] for check in _page_contents(entry, intent)]
        else:
            raise ValueError(f"the task {intent!r} has a check of unknown type {eval_type!r}")
    return checks


def _string_matches(answers: Mapping[str, Any], intent: str) -> list[Check]:
    checks: list[Check] = []
    for match_type, texts in answers.items():
        if match_type == "exact_match":
            checks.append(StringMatch((texts,)))
        elif match_type == "must_include":
            checks.append(StringMatch(tuple(texts), exact=False))
        else:
            raise ValueError(
                f"the task {intent!r} is checked by {match_type}, which takes a language model as judge; that is not supported"
            )
    return checks


def _page_contents(entry: Mapping[str, Any], intent: str) -> list[Check]:
    if entry["url"].startswith("func:") or str(entry["locator"]).startswith("func:"):
        raise ValueError(f"the task {intent!r} is checked by a function of WebArena's own program; that is not supported")
    contents = entry["required_contents"]
    if "exact_match" in contents:
        return [PageContent(entry["url"], entry["locator"], (contents["exact_match"],), exact=True)]
    return [PageContent(entry["url"], entry["locator"], tuple(text.split(" |OR| "))) for text in contents["must_include"]]
