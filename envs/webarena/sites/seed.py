"""What the sites hold at the start of every episode, drawn from a seed: products, orders, posts, repositories, articles, places."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

SCHEMA = Path(__file__).with_name("schema.sql")
ME = "robin.field"
MY_NAME = "Robin Field"
FIRST = "Ada Bruno Carla Derek Elena Felix Greta Hugo Irene Jonas Karin Lukas Maria Nils Olga Pavel Rita Simon".split()
LAST = "Almeida Becker Castro Dorn Engel Fischer Gomez Haas Ivanov Jensen Keller Lopez Meyer Novak Olsen Petrov Quinn Rossi Stein".split()
CATEGORIES = {
    "Kitchen": ("kettle", "frying pan", "bread knife", "coffee grinder", "mixing bowl"),
    "Garden": ("watering can", "garden hose", "hand rake", "flower pot", "bird feeder"),
    "Office": ("desk lamp", "notebook", "stapler", "pen holder", "file box"),
    "Sports": ("yoga mat", "water bottle", "skipping rope", "tennis racket", "gym bag"),
    "Toys": ("puzzle", "toy train", "kite", "building blocks", "plush bear"),
    "Travel": ("suitcase", "neck pillow", "travel mug", "rain jacket", "power bank"),
}
MAKES = ("Alto", "Brisk", "Corda", "Delmar")
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
_POSTS = (
    "What do you think of {a}?", "My first try at {a}", "A question about {a}", "Is {a} worth the money?", "Tips for {a}",
    "I was wrong about {a}", "Looking for help with {a}", "A short guide to {a}",
)  # fmt: skip
_ABOUTS = (
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
_ISSUES = (
    "Crash when the {a} is empty",
    "Add a setting for the {a}",
    "Describe the {a} in the manual",
    "How does the {a} work?",
    "Wrong order of the {a}",
    "The {a} is slow",
)
_PARTS = (
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
REGIONS = ("Lowmark", "Highmark", "Seamark")
RIVERS = ("Arle", "Bray", "Corve", "Dane")
GOODS = ("cheese", "pottery", "clocks", "paper", "cider", "rope")
KINDS = ("museum", "library", "station", "hospital", "bakery", "park", "hotel", "pharmacy")
_STREETS = "Bridge Castle Church Garden Harbour Market Mill School Station Wall".split()


def fill(db: sqlite3.Connection) -> None:
    db.executescript(SCHEMA.read_text(encoding="ascii"))
    people = [f"{first} {last}" for first in FIRST for last in LAST]
    random.Random("webarena people").shuffle(people)
    _shop(db, random.Random("webarena shop"), people[:40])
    _forum(db, random.Random("webarena forum"), [user(name) for name in people[40:80]])
    _code(db, random.Random("webarena code"), [user(name) for name in people[80:110]])
    _country(db, random.Random("webarena country"))


def user(name: str) -> str:
    return name.lower().replace(" ", ".")


def _day(draw: random.Random, year: int = 2022) -> str:
    return f"{year}-{draw.randrange(1, 13):02d}-{draw.randrange(1, 29):02d}"


def _shop(db: sqlite3.Connection, draw: random.Random, people: list[str]) -> None:
    number = 0
    for category, kinds in CATEGORIES.items():
        prices = draw.sample(range(500, 15_000), len(kinds) * len(MAKES))  # no two of a category cost the same
        for kind in kinds:
            for make in MAKES:
                number += 1
                db.execute(
                    "insert into products values (?, ?, ?, ?, ?)",
                    (number, f"{make} {kind}", category, prices.pop() / 100, draw.randrange(0, 200)),
                )
                for _ in range(draw.randrange(2, 8)):
                    db.execute(
                        "insert into reviews (product, author, stars, title) values (?, ?, ?, ?)",
                        (number, draw.choice(people), draw.randrange(1, 6), draw.choice(REVIEW_TITLES)),
                    )
    for index, name in enumerate([MY_NAME, *people], 1):
        city = draw.choice(("Ashford", "Millbury", "Oakham", "Stoneton"))
        db.execute("insert into customers values (?, ?, ?, ?)", (index, name, f"{user(name)}@mail.test", city))
    for order in range(1001, 1161):
        customer = 1 if order % 8 == 0 else draw.randrange(2, len(people) + 2)
        db.execute("insert into orders values (?, ?, ?, ?)", (order, customer, _day(draw), draw.choice(STATUSES)))
        for product in draw.sample(range(1, number + 1), draw.randrange(1, 4)):
            db.execute("insert into order_lines select ?, id, ?, price from products where id = ?", (order, draw.randrange(1, 4), product))


def _forum(db: sqlite3.Connection, draw: random.Random, users: list[str]) -> None:
    for forum, about in FORUMS.items():
        db.execute("insert into forums values (?, ?)", (forum, about))
        titles = [start.format(a=what) for start in _POSTS for what in _ABOUTS]
        votes = draw.sample(range(1, 400), 12)  # no two of a forum have as many
        for title in draw.sample(titles, 12):
            made = db.execute(
                "insert into posts (forum, title, body, author, votes, day) values (?, ?, ?, ?, ?, ?)",
                (forum, title, f"I would like to hear from others in {forum}.", draw.choice(users), votes.pop(), _day(draw)),
            )
            for _ in range(draw.randrange(0, 6)):
                comment = (made.lastrowid, draw.choice(users), draw.choice(_COMMENTS))
                db.execute("insert into comments (post, author, body) values (?, ?, ?)", comment)


def _code(db: sqlite3.Connection, draw: random.Random, users: list[str]) -> None:
    for index, (name, about) in enumerate(REPOSITORIES.items(), 1):
        team = draw.sample(users, 5)
        owner = ME if index % 4 == 0 else team[0]
        db.execute("insert into repositories values (?, ?, ?, ?, ?)", (index, name, owner, about, draw.randrange(3, 900)))
        for member in team:
            db.execute("insert into members values (?, ?, ?)", (index, member, draw.choice(ROLES)))
        titles = [start.format(a=part) for start in _ISSUES for part in _PARTS]
        chosen = draw.sample(titles, 16)
        for number, title in enumerate(chosen[:10], 1):
            db.execute(
                "insert into issues (repository, number, title, label, state, author, assignee) values (?, ?, ?, ?, ?, ?, ?)",
                (index, number, title, draw.choice(LABELS), draw.choice(("open", "open", "closed")), draw.choice(users), draw.choice(team)),
            )
        for number, title in enumerate(chosen[10:], 1):
            db.execute(
                "insert into merges (repository, number, title, state, author) values (?, ?, ?, ?, ?)",
                (index, number, f"Fix: {title}", draw.choice(("open", "merged", "closed")), draw.choice(team)),
            )


def _country(db: sqlite3.Connection, draw: random.Random) -> None:
    names = [start + end for start in _TOWN_STARTS for end in _TOWN_ENDS]
    for town in sorted(draw.sample(names, 24)):
        row = (
            town,
            draw.choice(REGIONS),
            draw.randrange(900, 1900),
            draw.randrange(1200, 250_000),
            draw.choice(RIVERS),
            draw.choice(GOODS),
        )
        db.execute("insert into towns (name, region, founded, population, river, product) values (?, ?, ?, ?, ?, ?)", row)
        x, y = draw.randrange(0, 100), draw.randrange(0, 100)
        for kind in draw.sample(KINDS, 4):
            db.execute(
                "insert into places (name, kind, street, town, x, y) values (?, ?, ?, ?, ?, ?)",
                (f"{town} {kind}", kind, f"{draw.randrange(1, 90)} {draw.choice(_STREETS)} Street", town,
                 x + draw.randrange(0, 9), y + draw.randrange(0, 9)),
            )  # fmt: skip
