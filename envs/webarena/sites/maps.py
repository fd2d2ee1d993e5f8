"""The map: places with their addresses and neighbours, and directions between them."""

from __future__ import annotations

from envs.webarena.sites.page import Field, Form, Heading, Link, Links, Page, Table, Text
from envs.webarena.sites.site import Site, SiteRequest, SiteResponse

SITE = Site("map", "map.test", "Wayfinder", (Link("Search", "/"), Link("Directions", "/directions")))
SPEEDS_KMH = {"car": 60, "bike": 15, "foot": 5}
"""Kilometres per hour, by mode of travel."""
_SEARCH_FORM = Form("/search", "Search", (Field("q", "Search for a place"),), "get")


def distance_km(position1: tuple[int, int], position2: tuple[int, int]) -> int:
    """The distance between two positions (x, y): roads run along a grid."""
    return abs(position1[0] - position2[0]) + abs(position1[1] - position2[1])


def duration_minutes(distance: int, mode: str) -> int:
    return round(distance * 60 / SPEEDS_KMH[mode])


@SITE.get("/")
def home_page(request: SiteRequest) -> SiteResponse:
    return Page("Wayfinder", [Heading("Wayfinder"), _SEARCH_FORM])


@SITE.get("/search")
def search_results_page(request: SiteRequest) -> SiteResponse:
    query = request.params.get("q", "").strip().lower()
    records = request.database.execute(
        "select id, name, town from places where ? != '' and instr(lower(name), ?) order by name limit 25", (query, query)
    )
    rows = [(Link(str(name), f"/place/{number}"), str(town)) for number, name, town in records]
    return Page("Search results - Wayfinder", [_SEARCH_FORM, Heading(f"{len(rows)} places"), Table(("Place", "Town"), rows)])


@SITE.get("/place/{number:int}")
def place_page(request: SiteRequest) -> SiteResponse:
    place_id = request.path_number("number")
    record = request.database.first_row("select name, kind, street, town, x, y from places where id = ?", (place_id,))
    if record is None:
        return None
    name, kind, street, town, x, y = record
    other_places = request.database.execute("select id, name, x, y from places where id != ?", (place_id,))
    nearest = sorted(
        (distance_km((int(x or 0), int(y or 0)), (int(other_x or 0), int(other_y or 0))), str(neighbour), int(number or 0))
        for number, neighbour, other_x, other_y in other_places
    )[:8]
    rows = [(Link(neighbour, f"/place/{number}"), f"{distance} km") for distance, neighbour, number in nearest]
    return Page(
        f"{name} - Wayfinder",
        [
            Heading(str(name)),
            Text(f"Kind: {kind}"),
            Text(f"Address: {street}, {town}"),
            Links((Link("Directions from here", f"/directions?from={str(name).replace(' ', '+')}"),)),
            Heading("Near by"),
            Table(("Place", "Distance"), rows),
        ],
    )


@SITE.get("/directions")
def directions_page(request: SiteRequest) -> SiteResponse:
    start, end = request.params.get("from", "").strip()[:80], request.params.get("to", "").strip()[:80]
    mode = request.params.get("by", "")
    fields = (Field("from", "From", start), Field("to", "To", end), Field("by", "By", mode, tuple(SPEEDS_KMH)))
    form = Form("/directions", "Go", fields, "get")
    page = Page("Directions - Wayfinder", [Heading("Directions"), form])
    if not (start and end and mode in SPEEDS_KMH):
        return page
    records = [request.database.first_row("select name, x, y from places where lower(name) = lower(?)", (name,)) for name in (start, end)]
    if records[0] is None or records[1] is None:
        page.blocks.append(Text("One of these places is not known; search for its full name."))
        return page
    (name1, *position1), (name2, *position2) = records[0], records[1]
    distance = distance_km((int(position1[0] or 0), int(position1[1] or 0)), (int(position2[0] or 0), int(position2[1] or 0)))
    time = duration_minutes(distance, mode)
    page.blocks.extend([Heading(f"From {name1} to {name2} by {mode}"), Text(f"Distance: {distance} km"), Text(f"Time: {time} minutes")])
    return page
