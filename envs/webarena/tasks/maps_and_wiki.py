"""Tasks on the map and in the encyclopaedia."""

from __future__ import annotations

import random

from envs.webarena.sites import maps, wiki
from envs.webarena.sites.database import SiteDatabase
from envs.webarena.success_checks import StringMatch, UrlMatch
from envs.webarena.tasks.task import (
    INFORMATION_SEEKING,
    SITE_NAVIGATION,
    SolutionStep,
    Stop,
    Task,
    Template,
    Type,
    button,
    link,
    radio,
    random_row,
)


def place_address(database: SiteDatabase, rng: random.Random) -> Task:
    name, street, town = random_row(database, rng, "select name, street, town from places")
    solution = (Type("Search for a place", str(name), enter=True), link(str(name)), Stop(f"{street}, {town}"))
    return Task(
        maps.SITE.name, INFORMATION_SEEKING, f"What is the address of the {name}?", (StringMatch((str(street),), exact=False),), solution
    )


def travel_distance(database: SiteDatabase, rng: random.Random) -> Task:
    start, end, mode, distance = _random_route(database, rng)
    intent = f"How many kilometres is it from the {start} to the {end} by {mode}? Answer with a number"
    return Task(
        maps.SITE.name, INFORMATION_SEEKING, intent, (StringMatch((str(distance),)),), (*_directions(start, end, mode), Stop(str(distance)))
    )


def travel_time(database: SiteDatabase, rng: random.Random) -> Task:
    start, end, mode, distance = _random_route(database, rng)
    answer = str(maps.duration_minutes(distance, mode))
    intent = f"How many minutes does it take from the {start} to the {end} by {mode}? Answer with a number"
    return Task(maps.SITE.name, INFORMATION_SEEKING, intent, (StringMatch((answer,)),), (*_directions(start, end, mode), Stop(answer)))


def show_directions(database: SiteDatabase, rng: random.Random) -> Task:
    start, end, mode, _ = _random_route(database, rng)
    url = f"{maps.SITE.url}/directions?from={start.replace(' ', '+')}&to={end.replace(' ', '+')}&by={mode}"
    return Task(
        maps.SITE.name,
        SITE_NAVIGATION,
        f"Show the way from the {start} to the {end} by {mode}",
        (UrlMatch((url,)),),
        (*_directions(start, end, mode), Stop()),
    )


def nearest_place(database: SiteDatabase, rng: random.Random) -> Task:
    rows = database.execute("select name, x, y from places order by name")
    places = {str(name): (int(x or 0), int(y or 0)) for name, x, y in rows}
    while True:
        start = rng.choice(sorted(places))
        ranked = sorted((maps.distance_km(places[start], place), name) for name, place in places.items() if name != start)
        if ranked[0][0] < ranked[1][0]:
            break
    solution = (Type("Search for a place", start, enter=True), link(start), Stop(ranked[0][1]))
    return Task(maps.SITE.name, INFORMATION_SEEKING, f"Which place is nearest to the {start}?", (StringMatch((ranked[0][1],)),), solution)


def town_fact(database: SiteDatabase, rng: random.Random) -> Task:
    town, founded, population, river, product = random_row(database, rng, "select name, founded, population, river, product from towns")
    question, answer = rng.choice(
        (
            (f"In which year was {town} founded?", founded),
            (f"How many inhabitants has {town}? Answer with a number", population),
            (f"On which river is {town}?", river),
            (f"What is {town} known for?", product),
        )
    )
    solution = (Type("Search Openpedia", str(town), enter=True), link(str(town)), Stop(str(answer)))
    return Task(wiki.SITE.name, INFORMATION_SEEKING, question, (StringMatch((str(answer),)),), solution)


def _random_route(database: SiteDatabase, rng: random.Random) -> tuple[str, str, str, int]:
    """(start, end, mode of travel, distance in kilometres)"""
    (start, x1, y1), (end, x2, y2) = rng.sample(database.execute("select name, x, y from places order by name"), 2)
    position1, position2 = (int(x1 or 0), int(y1 or 0)), (int(x2 or 0), int(y2 or 0))
    return str(start), str(end), rng.choice(sorted(maps.SPEEDS_KMH)), maps.distance_km(position1, position2)


def _directions(start: str, end: str, mode: str) -> tuple[SolutionStep, ...]:
    return link("Directions"), Type("From", start), Type("To", end), radio(mode), button("Go")


MAP_TEMPLATES: dict[str, Template] = {
    "country address": place_address,
    "country distance": travel_distance,
    "country show": show_directions,
    "country nearest": nearest_place,
    "country duration": travel_time,
}
WIKI_TEMPLATES: dict[str, Template] = {
    "country fact": town_fact,
}
