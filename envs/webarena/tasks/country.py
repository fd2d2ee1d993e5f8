"""Tasks on the map and in the encyclopaedia."""

from __future__ import annotations

import random

from envs.webarena.checks import At, Said
from envs.webarena.sites import maps, wiki
from envs.webarena.sites.store import Store
from envs.webarena.tasks.task import NAVIGATE, SEEK, Move, Stop, Task, Template, Type, button, link, one, radio


def address(store: Store, draw: random.Random) -> Task:
    name, street, town = one(store, draw, "select name, street, town from places")
    moves = (Type("Search for a place", str(name), enter=True), link(str(name)), Stop(f"{street}, {town}"))
    return Task(maps.SITE.kind, SEEK, f"What is the address of the {name}?", (Said((str(street),), exact=False),), moves)


def distance(store: Store, draw: random.Random) -> Task:
    start, end, way, length = _way(store, draw)
    intent = f"How many kilometres is it from the {start} to the {end} by {way}? Answer with a number"
    return Task(maps.SITE.kind, SEEK, intent, (Said((str(length),)),), (*_directions(start, end, way), Stop(str(length))))


def duration(store: Store, draw: random.Random) -> Task:
    start, end, way, length = _way(store, draw)
    answer = str(maps.minutes(length, way))
    intent = f"How many minutes does it take from the {start} to the {end} by {way}? Answer with a number"
    return Task(maps.SITE.kind, SEEK, intent, (Said((answer,)),), (*_directions(start, end, way), Stop(answer)))


def show(store: Store, draw: random.Random) -> Task:
    start, end, way, _ = _way(store, draw)
    url = f"{maps.SITE.url}/directions?from={start.replace(' ', '+')}&to={end.replace(' ', '+')}&by={way}"
    return Task(
        maps.SITE.kind,
        NAVIGATE,
        f"Show the way from the {start} to the {end} by {way}",
        (At((url,)),),
        (*_directions(start, end, way), Stop()),
    )


def nearest(store: Store, draw: random.Random) -> Task:
    rows = store.rows("select name, x, y from places order by name")
    places = {str(name): (int(x or 0), int(y or 0)) for name, x, y in rows}
    while True:
        here = draw.choice(sorted(places))
        ranked = sorted((maps.kilometres(places[here], place), name) for name, place in places.items() if name != here)
        if ranked[0][0] < ranked[1][0]:
            break
    moves = (Type("Search for a place", here, enter=True), link(here), Stop(ranked[0][1]))
    return Task(maps.SITE.kind, SEEK, f"Which place is nearest to the {here}?", (Said((ranked[0][1],)),), moves)


def fact(store: Store, draw: random.Random) -> Task:
    town, founded, population, river, product = one(store, draw, "select name, founded, population, river, product from towns")
    asked, answer = draw.choice(
        (
            (f"In which year was {town} founded?", founded),
            (f"How many inhabitants has {town}? Answer with a number", population),
            (f"On which river is {town}?", river),
            (f"What is {town} known for?", product),
        )
    )
    moves = (Type("Search Openpedia", str(town), enter=True), link(str(town)), Stop(str(answer)))
    return Task(wiki.SITE.kind, SEEK, asked, (Said((str(answer),)),), moves)


def _way(store: Store, draw: random.Random) -> tuple[str, str, str, int]:
    (start, a, b), (end, c, d) = draw.sample(store.rows("select name, x, y from places order by name"), 2)
    here, there = (int(a or 0), int(b or 0)), (int(c or 0), int(d or 0))
    return str(start), str(end), draw.choice(sorted(maps.SPEEDS)), maps.kilometres(here, there)


def _directions(start: str, end: str, way: str) -> tuple[Move, ...]:
    return link("Directions"), Type("From", start), Type("To", end), radio(way), button("Go")


MAP_TEMPLATES: tuple[Template, ...] = (address, distance, show, nearest, duration)
WIKI_TEMPLATES: tuple[Template, ...] = (fact,)
