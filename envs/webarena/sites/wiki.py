"""The encyclopaedia: articles on the towns of a country."""

from __future__ import annotations

from envs.webarena.sites.page import Field, Form, Heading, Link, Page, Table, Text
from envs.webarena.sites.site import Answer, Ask, Site

SITE = Site("wikipedia", "wiki.test", "Openpedia", (Link("Main page", "/"), Link("All towns", "/towns")))
_SEARCH = Form("/search", "Search", (Field("q", "Search Openpedia"),), "get")


@SITE.get("/")
def home(ask: Ask) -> Answer:
    return Page(
        "Openpedia", [Heading("Welcome to Openpedia"), _SEARCH, Text("An encyclopaedia of the towns of Lowmark, Highmark and Seamark.")]
    )


@SITE.get("/towns")
def towns(ask: Ask) -> Answer:
    found = ask.store.rows("select name, region from towns order by name")
    rows = [(Link(str(name), f"/wiki/{name}"), str(region)) for name, region in found]
    return Page("All towns - Openpedia", [Heading("All towns"), Table(("Town", "Region"), rows)])


@SITE.get("/search")
def search(ask: Ask) -> Answer:
    words = ask.said.get("q", "").strip().lower()
    found = ask.store.rows("select name, region from towns where ? != '' and instr(lower(name), ?) order by name", (words, words))
    rows = [(Link(str(name), f"/wiki/{name}"), str(region)) for name, region in found]
    return Page("Search results - Openpedia", [_SEARCH, Heading(f"{len(rows)} articles"), Table(("Town", "Region"), rows)])


@SITE.get("/wiki/{name}")
def article(ask: Ask) -> Answer:
    found = ask.store.row("select name, region, founded, population, river, product from towns where name = ?", (str(ask.path["name"]),))
    if found is None:
        return None
    name, region, founded, population, river, product = found
    return Page(
        f"{name} - Openpedia",
        [
            Heading(str(name)),
            Text(f"{name} is a town in {region}, on the river {river}."),
            Text(f"It was founded in {founded} and has {population} inhabitants."),
            Text(f"The town is known for its {product}."),
        ],
    )
