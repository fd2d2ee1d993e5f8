"""WebArena's own files of tasks (config_files/test.raw.json), on sites that run somewhere.

Invariant: a check that would need a model as its judge is refused by name when such a task is opened, never passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from envs.webarena.checks import At, Check, Said, Shows

PLACES = {
    "shopping": "__SHOPPING__",
    "shopping_admin": "__SHOPPING_ADMIN__",
    "reddit": "__REDDIT__",
    "gitlab": "__GITLAB__",
    "wikipedia": "__WIKIPEDIA__",
    "map": "__MAP__",
    "homepage": "__HOMEPAGE__",
}
"""What stands for a site's URL in the files."""


@dataclass(frozen=True, slots=True)
class Outside:
    """A task of a file. `hosts`: the sites that may be opened; `start`: the first page."""

    intent: str
    start: str
    hosts: frozenset[str]
    entry: Mapping[str, Any]

    @property
    def checks(self) -> tuple[Check, ...]:
        """Raises ValueError for a check that cannot be made here."""
        return tuple(_checks(self.entry["eval"], self.intent))


def read_tasks(file: Path, urls: Mapping[str, str]) -> tuple[Outside, ...]:
    """The tasks of a file. Raises ValueError for a file that is no such list, or where a site that it names has no URL in `urls`."""
    text = file.read_text(encoding="utf-8")
    for site, place in PLACES.items():
        if place in text:
            if site not in urls:
                raise ValueError(f"{file} has tasks on {site}; say where it is, e.g. WebArena(config=..., urls={{{site!r}: 'http://...'}})")
            text = text.replace(place, urls[site].rstrip("/"))
    try:
        entries = json.loads(text)
        hosts = frozenset(urlsplit(url).netloc for url in urls.values())
        return tuple(Outside(entry["intent"], entry["start_url"].split(" |AND| ")[0], hosts, entry) for entry in entries)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{file} is not a list of WebArena's tasks (intent, start_url, eval): {error}") from None


def _checks(wanted: Mapping[str, Any], intent: str) -> list[Check]:
    found: list[Check] = []
    for kind in wanted["eval_types"]:
        if kind == "string_match":
            found += _said(wanted["reference_answers"], intent)
        elif kind == "url_match":
            found.append(At(tuple(wanted["reference_url"].split(" |OR| "))))
        elif kind == "program_html":
            found += [check for one in wanted["program_html"] for check in _shows(one, intent)]
        else:
            raise ValueError(f"the task {intent!r} has a check of the unknown kind {kind!r}")
    return found


def _said(answers: Mapping[str, Any], intent: str) -> list[Check]:
    found: list[Check] = []
    for way, texts in answers.items():
        if way == "exact_match":
            found.append(Said((texts,)))
        elif way == "must_include":
            found.append(Said(tuple(texts), exact=False))
        else:
            raise ValueError(f"the task {intent!r} is checked by {way}, which takes a language model as its judge; that is not done here")
    return found


def _shows(one: Mapping[str, Any], intent: str) -> list[Check]:
    if one["url"].startswith("func:") or str(one["locator"]).startswith("func:"):
        raise ValueError(f"the task {intent!r} is checked by a function of WebArena's program, which is not here")
    contents = one["required_contents"]
    if "exact_match" in contents:
        return [Shows(one["url"], one["locator"], (contents["exact_match"],), exact=True)]
    return [Shows(one["url"], one["locator"], tuple(text.split(" |OR| "))) for text in contents["must_include"]]
