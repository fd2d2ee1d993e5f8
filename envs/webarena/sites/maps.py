"""The map: places with their addresses, what is near them, and ways between them."""

from __future__ import annotations

from envs.webarena.sites.page import Field, Form, Heading, Link, Links, Page, Table, Text
from envs.webarena.sites.site import Answer, Ask, Site

SITE = Site("map", "map.test", "Wayfinder", (Link("Search", "/"), Link("Directions", "/directions")))
SPEEDS = {"car": 60, "bike": 15, "foot": 5}
"""Kilometres in an hour."""
_SEARCH = Form("/search", "Search", (Field("q", "Search for a place"),), "get")


def kilometres(here: tuple[int, int], there: tuple[int, int]) -> int:
    """Roads run along a grid."""
    return abs(here[0] - there[0]) + abs(here[1] - there[1])


def minutes(distance: int, way: str) -> int:
    return round(distance * 60 / SPEEDS[way])


@SITE.get("/")
def home(ask: Ask) -> Answer:
    return Page("Wayfinder", [Heading("Wayfinder"), _SEARCH])


@SITE.get("/search")
def search(ask: Ask) -> Answer:
    words = ask.said.get("q", "").strip().lower()
    found = ask.store.rows(
        "select id, name, town from places where ? != '' and instr(lower(name), ?) order by name limit 25", (words, words)
    )
    rows = [(Link(str(name), f"/place/{number}"), str(town)) for number, name, town in found]
    return Page("Search results - Wayfinder", [_SEARCH, Heading(f"{len(rows)} places"), Table(("Place", "Town"), rows)])


@SITE.get("/place/{number:int}")
def place(ask: Ask) -> Answer:
    found = ask.store.row("select name, kind, street, town, x, y from places where id = ?", (ask.number("number"),))
    if found is None:
        return None
    name, kind, street, town, x, y = found
    near = sorted(
        (kilometres((int(x or 0), int(y or 0)), (int(a or 0), int(b or 0))), str(other), int(number or 0))
        for number, other, a, b in ask.store.rows("select id, name, x, y from places where id != ?", (ask.number("number"),))
    )[:8]
    rows = [(Link(other, f"/place/{number}"), f"{distance} km") for distance, other, number in near]
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
def directions(ask: Ask) -> Answer:
    start, end, way = ask.said.get("from", "").strip()[:80], ask.said.get("to", "").strip()[:80], ask.said.get("by", "")
    form = Form("/directions", "Go", (Field("from", "From", start), Field("to", "To", end), Field("by", "By", way, tuple(SPEEDS))), "get")
    page = Page("Directions - Wayfinder", [Heading("Directions"), form])
    if not (start and end and way in SPEEDS):
        return page
    found = [ask.store.row("select name, x, y from places where lower(name) = lower(?)", (name,)) for name in (start, end)]
    if found[0] is None or found[1] is None:
        page.blocks.append(Text("One of these places is not known; search for its full name."))
        return page
    (first, *here), (second, *there) = found[0], found[1]
    distance = kilometres((int(here[0] or 0), int(here[1] or 0)), (int(there[0] or 0), int(there[1] or 0)))
    time = minutes(distance, way)
    page.blocks.extend([Heading(f"From {first} to {second} by {way}"), Text(f"Distance: {distance} km"), Text(f"Time: {time} minutes")])
    return page
