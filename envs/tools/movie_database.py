"""Invented films and people in an in-memory SQLite database, generated from a seed.

Invariant: the same rows on every machine.
"""

from __future__ import annotations

import random
import sqlite3
from functools import lru_cache

_NUM_FILMS, _NUM_PEOPLE = 400, 260
_ADJECTIVES = "The,A,My,Our,No,Last,First,Silent,Broken,Golden,Hidden,Distant,Winter,Summer,Midnight,Paper,Glass,Iron".split(",")
_NOUNS = "Harbour,Garden,Letter,Mirror,Orchard,Signal,Voyage,Lantern,Island,Station,Promise,Witness,Carnival,Bridge,Sparrow".split(",")
_TITLE_ENDINGS = ",of Salt,of Dust,at Dawn,in the Rain,without a Name,on the Hill,of Two Rivers".split(",")
_GIVEN_NAMES = (
    "Ada,Bruno,Clea,Dag,Elin,Fabio,Gwen,Hal,Ilse,Joss,Kaya,Leon,Mira,Nico,Odile,Per,Quinn,Rhea,Sven,Thea,Ugo,Vida,Wes,Xenia".split(",")
)
_FAMILY_NAMES = "Ahlberg,Bellamy,Castell,Drummond,Engel,Fontaine,Garrick,Hale,Ibsen,Jarvis,Kovac,Lindqvist,Marlowe,Norwood,Okafor".split(
    ","
)
COUNTRIES = {"NR": "Norland", "SU": "Sudria", "WE": "Westria", "OS": "Ostmark", "IL": "Ilvania"}
_COMPANIES = "Aurora Pictures,Bluebird Films,Corner House,Delta Studio,Evergreen,Fathom Works,Granite Film,Halcyon".split(",")
_GENRES = "drama,comedy,thriller,romance,adventure,documentary".split(",")
_KEYWORDS = "friendship,revenge,small town,sea,war,music,family secret,heist,journey,robot,dog,school,winter,train".split(",")
JOBS = ("Director", "Writer", "Composer", "Editor")
LANGUAGES = {"de": "German", "fr": "French", "es": "Spanish", "it": "Italian"}
_SCHEMA = """
CREATE TABLE film (id INTEGER PRIMARY KEY, title TEXT UNIQUE, release_date TEXT, runtime INTEGER, budget INTEGER, revenue INTEGER,
  vote_average REAL, vote_count INTEGER, genre TEXT);
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT UNIQUE, birthday TEXT, place_of_birth TEXT, imdb_id TEXT, facebook_id TEXT);
CREATE TABLE cast_member (film INTEGER, person INTEGER, role TEXT, place INTEGER);
CREATE TABLE crew_member (film INTEGER, person INTEGER, job TEXT);
CREATE TABLE company (film INTEGER, name TEXT);
CREATE TABLE country (film INTEGER, code TEXT);
CREATE TABLE keyword (film INTEGER, word TEXT);
CREATE TABLE alternative (film INTEGER, code TEXT, title TEXT);
CREATE TABLE translation (film INTEGER, language TEXT, title TEXT);
"""


@lru_cache(maxsize=None)
def movie_database() -> sqlite3.Connection:
    """The filled database; only read afterwards."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.executescript(_SCHEMA)
    rng = random.Random("films")
    names = [f"{given} {family}" for given in _GIVEN_NAMES for family in _FAMILY_NAMES]
    rng.shuffle(names)
    for number, name in enumerate(names[:_NUM_PEOPLE]):
        birthday = f"{rng.randrange(1935, 2003)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
        birthplace = rng.choice(list(COUNTRIES.values()))
        handle = name.lower().replace(" ", ".")
        connection.execute(
            "INSERT INTO person VALUES (?, ?, ?, ?, ?, ?)",
            (1000 + number, name, birthday, birthplace, f"nm{5_000_000 + number * 37}", handle),
        )
    titles = [
        " ".join(filter(None, (adjective, noun, ending))) for adjective in _ADJECTIVES for noun in _NOUNS for ending in _TITLE_ENDINGS
    ]
    rng.shuffle(titles)
    for number, title in enumerate(titles[:_NUM_FILMS]):
        _insert_film(connection, rng, 20_000 + number * 7, title)
    connection.commit()
    return connection


def _insert_film(connection: sqlite3.Connection, rng: random.Random, film: int, title: str) -> None:
    date = f"{rng.randrange(1970, 2024)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
    budget = rng.randrange(1, 190) * 1_000_000
    attributes = (
        date,
        rng.randrange(74, 190),
        budget,
        int(budget * rng.random() * 4),
        rng.randrange(31, 95) / 10,
        rng.randrange(40, 9000),
    )
    connection.execute("INSERT INTO film VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (film, title, *attributes, rng.choice(_GENRES)))
    people = [1000 + number for number in rng.sample(range(_NUM_PEOPLE), 8)]
    for billing, person in enumerate(people[:5]):
        role = f"{rng.choice(_GIVEN_NAMES)} the {rng.choice(['doctor', 'sailor', 'teacher', 'thief', 'baker', 'pilot', 'painter'])}"
        connection.execute("INSERT INTO cast_member VALUES (?, ?, ?, ?)", (film, person, role, billing))
    crew = [*people[5:], people[rng.randrange(8)]]
    for person, job in zip(crew, JOBS, strict=True):
        connection.execute("INSERT INTO crew_member VALUES (?, ?, ?)", (film, person, job))
    for name in rng.sample(_COMPANIES, rng.randrange(1, 4)):
        connection.execute("INSERT INTO company VALUES (?, ?)", (film, name))
    for code in rng.sample(list(COUNTRIES), rng.randrange(1, 3)):
        connection.execute("INSERT INTO country VALUES (?, ?)", (film, code))
    for word in rng.sample(_KEYWORDS, rng.randrange(2, 5)):
        connection.execute("INSERT INTO keyword VALUES (?, ?)", (film, word))
    for code in rng.sample(list(COUNTRIES), 2):
        connection.execute("INSERT INTO alternative VALUES (?, ?, ?)", (film, code, f"{title}: {rng.choice(_NOUNS)} {rng.randrange(2, 9)}"))
    for language in rng.sample(list(LANGUAGES), 2):
        connection.execute(
            "INSERT INTO translation VALUES (?, ?, ?)", (film, language, f"{rng.choice(_NOUNS)} {language.upper()} {film % 97}")
        )
