"""The sites' data at the start of every episode: products, orders, posts, repositories, articles and places, generated from a seed.

Invariant: the same rows on every machine.
"""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

_SCHEMA_FILE = Path(__file__).with_name("schema.sql")
USERNAME = "robin.field"
CUSTOMER_NAME = "Robin Field"
FIRST_NAMES = "Ada Bruno Carla Derek Elena Felix Greta Hugo Irene Jonas Karin Lukas Maria Nils Olga Pavel Rita Simon".split()
LAST_NAMES = (
    "Almeida Becker Castro Dorn Engel Fischer Gomez Haas Ivanov Jensen Keller Lopez Meyer Novak Olsen Petrov Quinn Rossi Stein".split()
)
CATEGORIES = {
    "Kitchen": ("kettle", "frying pan", "bread knife", "coffee grinder", "mixing bowl"),
    "Garden": ("watering can", "garden hose", "hand rake", "flower pot", "bird feeder"),
    "Office": ("desk lamp", "notebook", "stapler", "pen holder", "file box"),
    "Sports": ("yoga mat", "water bottle", "skipping rope", "tennis racket", "gym bag"),
    "Toys": ("puzzle", "toy train", "kite", "building blocks", "plush bear"),
    "Travel": ("suitcase", "neck pillow", "travel mug", "rain jacket", "power bank"),
}
_BRANDS = ("Alto", "Brisk", "Corda", "Delmar")
STATUSES = ("pending", "processing", "complete", "canceled")
REVIEW_TITLES = (
    "Good value",
    "Not what I hoped for",
    "Works well",
    "Broke after a week",
    "Would buy again",
    "Too small",
    "Lovely colour",
    "Fine",
)
FORUMS = {
    "books": "Reading and what to read next",
    "cycling": "Bikes, tours and repairs",
    "gardening": "Growing things",
    "cooking": "Recipes and kitchens",
    "space": "Rockets, planets and stars",
    "music": "Listening and playing",
    "photography": "Cameras and pictures",
    "hiking": "Trails and gear",
}
_POST_TITLES = (
    "What do you think of {a}?", "My first try at {a}", "A question about {a}", "Is {a} worth the money?", "Tips for {a}",
    "I was wrong about {a}", "Looking for help with {a}", "A short guide to {a}",
)  # fmt: skip
_POST_TOPICS = (
    "long novels", "old maps", "wooden frames", "night rides", "tomatoes", "raised beds", "sourdough", "cast iron", "small telescopes",
    "lunar photos", "jazz piano", "vinyl records", "film cameras", "portrait light", "winter trails", "light tents",
)  # fmt: skip
_COMMENTS = ("I agree.", "Thanks for sharing.", "I see it differently.", "Same here.", "Could you say more?", "Great.")
REPOSITORIES = {
    "atlas": "Maps in the terminal",
    "beacon": "A small status page",
    "cinder": "Static site generator",
    "dovetail": "Joins tables by their keys",
    "ember": "Template engine",
    "fathom": "Depth sensors toolkit",
    "gander": "A linter for configuration",
    "harbor-light": "Deploys by one file",
    "inkwell": "Notes that sync",
    "juniper": "Plant database",
    "kestrel": "Fast log search",
    "lantern": "Feature flags",
    "meadow": "Generative landscapes",
    "nimbus": "Weather widgets",
    "orchard": "Task runner",
    "pebble": "Tiny key-value store",
}
LABELS = ("bug", "feature", "documentation", "question")
_ISSUE_TITLES = (
    "Crash when the {a} is empty",
    "Add a setting for the {a}",
    "Describe the {a} in the manual",
    "How does the {a} work?",
    "Wrong order of the {a}",
    "The {a} is slow",
)
_ISSUE_SUBJECTS = (
    "cache",
    "index",
    "configuration file",
    "search box",
    "log output",
    "export",
    "login page",
    "progress bar",
    "parser",
    "dark theme",
)
ROLES = ("guest", "reporter", "developer", "maintainer")
_TOWN_STARTS = "Ash Birch Clay Dun East Fern Glen Hazel Iron King Lark Mill North Oak Pine Red Stone Thorn West Wind".split()
_TOWN_ENDS = "ford bury ham ton field wick".split()
_REGIONS = ("Lowmark", "Highmark", "Seamark")
_RIVERS = ("Arle", "Bray", "Corve", "Dane")
_GOODS = ("cheese", "pottery", "clocks", "paper", "cider", "rope")
_PLACE_KINDS = ("museum", "library", "station", "hospital", "bakery", "park", "hotel", "pharmacy")
_STREETS = "Bridge Castle Church Garden Harbour Market Mill School Station Wall".split()


def fill(database: sqlite3.Connection) -> None:
    """Create the tables and fill them."""
    database.executescript(_SCHEMA_FILE.read_text(encoding="ascii"))
    people = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES]
    random.Random("webarena people").shuffle(people)
    _fill_shop(database, random.Random("webarena shop"), people[:40])
    _fill_forum(database, random.Random("webarena forum"), [username(name) for name in people[40:80]])
    _fill_code_hosting(database, random.Random("webarena code"), [username(name) for name in people[80:110]])
    _fill_maps_and_wiki(database, random.Random("webarena country"))


def username(name: str) -> str:
    return name.lower().replace(" ", ".")


def _random_day(rng: random.Random, year: int = 2022) -> str:
    return f"{year}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}"


def _fill_shop(database: sqlite3.Connection, rng: random.Random, people: list[str]) -> None:
    number = 0
    for category, kinds in CATEGORIES.items():
        prices = rng.sample(range(500, 15_000), len(kinds) * len(_BRANDS))  # distinct within a category
        for kind in kinds:
            for brand in _BRANDS:
                number += 1
                database.execute(
                    "insert into products values (?, ?, ?, ?, ?)",
                    (number, f"{brand} {kind}", category, prices.pop() / 100, rng.randrange(0, 200)),
                )
                for _ in range(rng.randrange(2, 8)):
                    database.execute(
                        "insert into reviews (product, author, stars, title) values (?, ?, ?, ?)",
                        (number, rng.choice(people), rng.randrange(1, 6), rng.choice(REVIEW_TITLES)),
                    )
    for index, name in enumerate([CUSTOMER_NAME, *people], 1):
        city = rng.choice(("Ashford", "Millbury", "Oakham", "Stoneton"))
        database.execute("insert into customers values (?, ?, ?, ?)", (index, name, f"{username(name)}@mail.test", city))
    for order in range(1001, 1161):
        customer = 1 if order % 8 == 0 else rng.randrange(2, len(people) + 2)
        database.execute("insert into orders values (?, ?, ?, ?)", (order, customer, _random_day(rng), rng.choice(STATUSES)))
        for product in rng.sample(range(1, number + 1), rng.randrange(1, 4)):
            order_line = (order, rng.randrange(1, 4), product)
            database.execute("insert into order_lines select ?, id, ?, price from products where id = ?", order_line)


def _fill_forum(database: sqlite3.Connection, rng: random.Random, users: list[str]) -> None:
    for forum, about in FORUMS.items():
        database.execute("insert into forums values (?, ?)", (forum, about))
        titles = [template.format(a=topic) for template in _POST_TITLES for topic in _POST_TOPICS]
        votes = rng.sample(range(1, 400), 12)  # distinct within a forum
        for title in rng.sample(titles, 12):
            post = database.execute(
                "insert into posts (forum, title, body, author, votes, day) values (?, ?, ?, ?, ?, ?)",
                (forum, title, f"I would like to hear from others in {forum}.", rng.choice(users), votes.pop(), _random_day(rng)),
            )
            for _ in range(rng.randrange(0, 6)):
                comment = (post.lastrowid, rng.choice(users), rng.choice(_COMMENTS))
                database.execute("insert into comments (post, author, body) values (?, ?, ?)", comment)


def _fill_code_hosting(database: sqlite3.Connection, rng: random.Random, users: list[str]) -> None:
    for index, (name, about) in enumerate(REPOSITORIES.items(), 1):
        team = rng.sample(users, 5)
        owner = USERNAME if index % 4 == 0 else team[0]
        database.execute("insert into repositories values (?, ?, ?, ?, ?)", (index, name, owner, about, rng.randrange(3, 900)))
        for member in team:
            database.execute("insert into members values (?, ?, ?)", (index, member, rng.choice(ROLES)))
        titles = [template.format(a=subject) for template in _ISSUE_TITLES for subject in _ISSUE_SUBJECTS]
        chosen = rng.sample(titles, 16)
        for number, title in enumerate(chosen[:10], 1):
            database.execute(
                "insert into issues (repository, number, title, label, state, author, assignee) values (?, ?, ?, ?, ?, ?, ?)",
                (index, number, title, rng.choice(LABELS), rng.choice(("open", "open", "closed")), rng.choice(users), rng.choice(team)),
            )
        for number, title in enumerate(chosen[10:], 1):
            database.execute(
                "insert into merges (repository, number, title, state, author) values (?, ?, ?, ?, ?)",
                (index, number, f"Fix: {title}", rng.choice(("open", "merged", "closed")), rng.choice(team)),
            )


def _fill_maps_and_wiki(database: sqlite3.Connection, rng: random.Random) -> None:
    names = [start + end for start in _TOWN_STARTS for end in _TOWN_ENDS]
    for town in sorted(rng.sample(names, 24)):
        row = (
            town,
            rng.choice(_REGIONS),
            rng.randrange(900, 1900),
            rng.randrange(1200, 250_000),
            rng.choice(_RIVERS),
            rng.choice(_GOODS),
        )
        database.execute("insert into towns (name, region, founded, population, river, product) values (?, ?, ?, ?, ?, ?)", row)
        x, y = rng.randrange(0, 100), rng.randrange(0, 100)
        for kind in rng.sample(_PLACE_KINDS, 4):
            database.execute(
                "insert into places (name, kind, street, town, x, y) values (?, ?, ?, ?, ?, ?)",
                (f"{town} {kind}", kind, f"{rng.randrange(1, 90)} {rng.choice(_STREETS)} Street", town,
                 x + rng.randrange(0, 9), y + rng.randrange(0, 9)),
            )  # fmt: skip
