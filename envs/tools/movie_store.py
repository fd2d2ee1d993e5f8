"""Invented films and people, in a SQLite database in memory that is made from a seed.

Invariant: the same rows on every machine.
"""

from __future__ import annotations

import random
import sqlite3
from functools import lru_cache

FILMS, PEOPLE = 400, 260
_ONE = "The,A,My,Our,No,Last,First,Silent,Broken,Golden,Hidden,Distant,Winter,Summer,Midnight,Paper,Glass,Iron".split(",")
_TWO = "Harbour,Garden,Letter,Mirror,Orchard,Signal,Voyage,Lantern,Island,Station,Promise,Witness,Carnival,Bridge,Sparrow".split(",")
_THREE = ",of Salt,of Dust,at Dawn,in the Rain,without a Name,on the Hill,of Two Rivers".split(",")
_GIVEN = "Ada,Bruno,Clea,Dag,Elin,Fabio,Gwen,Hal,Ilse,Joss,Kaya,Leon,Mira,Nico,Odile,Per,Quinn,Rhea,Sven,Thea,Ugo,Vida,Wes,Xenia".split(",")
_FAMILY = "Ahlberg,Bellamy,Castell,Drummond,Engel,Fontaine,Garrick,Hale,Ibsen,Jarvis,Kovac,Lindqvist,Marlowe,Norwood,Okafor".split(",")
COUNTRIES = {"NR": "Norland", "SU": "Sudria", "WE": "Westria", "OS": "Ostmark", "IL": "Ilvania"}
_COMPANIES = "Aurora Pictures,Bluebird Films,Corner House,Delta Studio,Evergreen,Fathom Works,Granite Film,Halcyon".split(",")
GENRES = "drama,comedy,thriller,romance,adventure,documentary".split(",")
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
def database() -> sqlite3.Connection:
    """The films; only read after they are made."""
    found = sqlite3.connect(":memory:", check_same_thread=False)
    found.row_factory = sqlite3.Row
    found.executescript(_SCHEMA)
    draw = random.Random("films")
    names = [f"{given} {family}" for given in _GIVEN for family in _FAMILY]
    draw.shuffle(names)
    for number, name in enumerate(names[:PEOPLE]):
        birthday = f"{draw.randrange(1935, 2003)}-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02}"
        place = draw.choice(list(COUNTRIES.values()))
        handle = name.lower().replace(" ", ".")
        found.execute(
            "INSERT INTO person VALUES (?, ?, ?, ?, ?, ?)", (1000 + number, name, birthday, place, f"nm{5_000_000 + number * 37}", handle)
        )
    titles = [" ".join(filter(None, (one, two, three))) for one in _ONE for two in _TWO for three in _THREE]
    draw.shuffle(titles)
    for number, title in enumerate(titles[:FILMS]):
        _film(found, draw, 20_000 + number * 7, title)
    found.commit()
    return found


def _film(found: sqlite3.Connection, draw: random.Random, film: int, title: str) -> None:
    date = f"{draw.randrange(1970, 2024)}-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02}"
    budget = draw.randrange(1, 190) * 1_000_000
    figures = (
        date,
        draw.randrange(74, 190),
        budget,
        int(budget * draw.random() * 4),
        draw.randrange(31, 95) / 10,
        draw.randrange(40, 9000),
    )
    found.execute("INSERT INTO film VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (film, title, *figures, draw.choice(GENRES)))
    people = [1000 + number for number in draw.sample(range(PEOPLE), 8)]
    for place, person in enumerate(people[:5]):
        role = f"{draw.choice(_GIVEN)} the {draw.choice(['doctor', 'sailor', 'teacher', 'thief', 'baker', 'pilot', 'painter'])}"
        found.execute("INSERT INTO cast_member VALUES (?, ?, ?, ?)", (film, person, role, place))
    crew = [*people[5:], people[draw.randrange(8)]]
    for person, job in zip(crew, JOBS, strict=True):
        found.execute("INSERT INTO crew_member VALUES (?, ?, ?)", (film, person, job))
    for name in draw.sample(_COMPANIES, draw.randrange(1, 4)):
        found.execute("INSERT INTO company VALUES (?, ?)", (film, name))
    for code in draw.sample(list(COUNTRIES), draw.randrange(1, 3)):
        found.execute("INSERT INTO country VALUES (?, ?)", (film, code))
    for word in draw.sample(_KEYWORDS, draw.randrange(2, 5)):
        found.execute("INSERT INTO keyword VALUES (?, ?)", (film, word))
    for code in draw.sample(list(COUNTRIES), 2):
        found.execute("INSERT INTO alternative VALUES (?, ?, ?)", (film, code, f"{title}: {draw.choice(_TWO)} {draw.randrange(2, 9)}"))
    for language in draw.sample(list(LANGUAGES), 2):
        found.execute("INSERT INTO translation VALUES (?, ?, ?)", (film, language, f"{draw.choice(_TWO)} {language.upper()} {film % 97}"))
