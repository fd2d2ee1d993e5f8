"""The encyclopaedia: articles about the towns of a country."""

from __future__ import annotations

from envs.webarena.sites.page import Field, Form, Heading, Link, Page, Table, Text
from envs.webarena.sites.site import Site, SiteRequest, SiteResponse

SITE = Site("wikipedia", "wiki.test", "Openpedia", (Link("Main page", "/"), Link("All towns", "/towns")))
_SEARCH_FORM = Form("/search", "Search", (Field("q", "Search Openpedia"),), "get")


@SITE.get("/")
def home_page(request: SiteRequest) -> SiteResponse:
    return Page(
        "Openpedia",
        [Heading("Welcome to Openpedia"), _SEARCH_FORM, Text("An encyclopaedia of the towns of Lowmark, Highmark and Seamark.")],
    )


@SITE.get("/towns")
def towns_page(request: SiteRequest) -> SiteResponse:
    records = request.database.execute("select name, region from towns order by name")
    rows = [(Link(str(name), f"/wiki/{name}"), str(region)) for name, region in records]
    return Page("All towns - Openpedia", [Heading("All towns"), Table(("Town", "Region"), rows)])


@SITE.get("/search")
def search_results_page(request: SiteRequest) -> SiteResponse:
    query = request.params.get("q", "").strip().lower()
    records = request.database.execute(
        "select name, region from towns where ? != '' and instr(lower(name), ?) order by name", (query, query)
    )
    rows = [(Link(str(name), f"/wiki/{name}"), str(region)) for name, region in records]
    return Page("Search results - Openpedia", [_SEARCH_FORM, Heading(f"{len(rows)} articles"), Table(("Town", "Region"), rows)])


@SITE.get("/wiki/{name}")
def article_page(request: SiteRequest) -> SiteResponse:
    record = request.database.first_row(
        "select name, region, founded, population, river, product from towns where name = ?", (str(request.path_params["name"]),)
    )
    if record is None:
        return None
    name, region, founded, population, river, product = record
    return Page(
        f"{name} - Openpedia",
        [
            Heading(str(name)),
            Text(f"{name} is a town in {region}, on the river {river}."),
            Text(f"It was founded in {founded} and has {population} inhabitants."),
            Text(f"The town is known for its {product}."),
        ],
    )
