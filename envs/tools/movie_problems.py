"""The templates of Movie's questions: what is asked, and the calls that answer it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from envs.tools.base import Problem
from envs.tools.movie_store import COUNTRIES, JOBS, LANGUAGES, database

Call = Callable[..., Any]


def _title(draw: random.Random) -> str:
    return str(draw.choice([row[0] for row in database().execute("SELECT title FROM film ORDER BY id")]))


def _name(draw: random.Random, table: str) -> str:
    """Somebody who plays or worked in two films or more."""
    asked = f"SELECT p.name FROM person p JOIN {table} c ON c.person = p.id GROUP BY p.id HAVING COUNT(*) > 1 ORDER BY p.id"
    return str(draw.choice([row[0] for row in database().execute(asked)]))


def _film(call: Call, title: str) -> int:
    found = call(f"I look for the film {title}.", "get_search_movie", movie_name=title)
    return int(next(film["id"] for film in found if film["title"] == title))


def _person(call: Call, name: str) -> int:
    return int(call(f"I look for {name}.", "get_search_person", person_name=name)[0]["id"])


def figure(draw: random.Random) -> Problem:
    title = _title(draw)
    name, asked = draw.choice(
        [
            ("runtime", "How many minutes does {} run?"),
            ("budget", "What was the budget of {}?"),
            ("revenue", "What revenue did {} make?"),
            ("release_date", "When was {} released?"),
            ("vote_average", "What is the average vote of {}?"),
            ("genre", "Which genre is {}?"),
        ]
    )

    def solve(call: Call) -> Any:
        return call("Its details have that.", "get_movie_details", movie_id=_film(call, title))[name]

    return Problem(asked.format(title), "2 calls", solve)


def made_by(draw: random.Random) -> Problem:
    title, job = _title(draw), draw.choice(JOBS)

    def solve(call: Call) -> Any:
        crew = call(f"The crew says who the {job.lower()} was.", "get_movie_crew", movie_id=_film(call, title))
        return next(member["name"] for member in crew if member["job"] == job)

    return Problem(f"Who was the {job.lower()} of {title}?", "2 calls", solve)


def listed(draw: random.Random) -> Problem:
    title = _title(draw)
    tool, asked = draw.choice(
        [
            ("get_movie_production_companies", "Which companies produced {}?"),
            ("get_movie_production_countries", "In which countries was {} produced?"),
            ("get_movie_keywords", "Which keywords does {} have?"),
        ]
    )

    def solve(call: Call) -> Any:
        return call("I ask for that list.", tool, movie_id=_film(call, title))

    return Problem(asked.format(title), "2 calls", solve)


def other_title(draw: random.Random) -> Problem:
    title = _title(draw)
    film = next(row[0] for row in database().execute("SELECT id FROM film WHERE title = ?", (title,)))
    table, key = draw.choice([("alternative", "country"), ("translation", "language")])
    tool = "get_movie_alternative_titles" if key == "country" else "get_movie_translation"
    column, names = ("code", COUNTRIES) if key == "country" else ("language", LANGUAGES)
    code = draw.choice([row[0] for row in database().execute(f"SELECT {column} FROM {table} WHERE film = ? ORDER BY 1", (film,))])
    where = names[code]

    def solve(call: Call) -> Any:
        titles = call("I ask for its other titles.", tool, movie_id=_film(call, title))
        return next(entry["title"] for entry in titles if entry[key] == where)

    return Problem(f"What is {title} called in {where}?", "2 calls", solve)


def leading(draw: random.Random) -> Problem:
    title = _title(draw)
    what, word = draw.choice([("birthday", "When"), ("place_of_birth", "Where")])

    def solve(call: Call) -> Any:
        cast = call("The cast has the leading role first.", "get_movie_cast", movie_id=_film(call, title))
        return call("Now the actor's details.", "get_person_details", person_id=cast[0]["id"])[what]

    return Problem(f"{word} was the actor of the leading role of {title} born?", "3 calls", solve)


def role(draw: random.Random) -> Problem:
    name = _name(draw, "cast_member")
    asked = "SELECT f.title FROM cast_member c JOIN film f ON f.id = c.film JOIN person p ON p.id = c.person WHERE p.name = ? ORDER BY f.id"
    title = draw.choice([row[0] for row in database().execute(asked, (name,))])

    def solve(call: Call) -> Any:
        played = call("I ask what this person plays in.", "get_person_cast", person_id=_person(call, name))
        return next(film["role"] for film in played if film["title"] == title)

    return Problem(f"Which role does {name} play in {title}?", "2 calls", solve)


def filmography(draw: random.Random) -> Problem:
    name, table = _name(draw, "cast_member"), draw.choice(["cast", "cast", "crew"])
    if table == "crew":
        name = _name(draw, "crew_member")

    def solve(call: Call) -> Any:
        films = call("I ask for the films.", f"get_person_{table}", person_id=_person(call, name))
        return sorted({film["title"] for film in films})

    return Problem(f"Which films did {name} {'play in' if table == 'cast' else 'work on'}?", "2 calls", solve)


def person_fact(draw: random.Random) -> Problem:
    name = _name(draw, "cast_member")
    tool, what, asked = draw.choice(
        [
            ("get_person_details", "birthday", "When was {} born?"),
            ("get_person_details", "place_of_birth", "In which country was {} born?"),
            ("get_person_external_ids", "imdb_id", "What is the IMDb id of {}?"),
        ]
    )

    def solve(call: Call) -> Any:
        return call("I ask about this person.", tool, person_id=_person(call, name))[what]

    return Problem(asked.format(name), "2 calls", solve)


def compare(draw: random.Random) -> Problem:
    one, other = _title(draw), _title(draw)
    name, word = draw.choice(
        [("runtime", "longer"), ("budget", "more expensive"), ("vote_average", "better voted"), ("release_date", "newer")]
    )

    def solve(call: Call) -> str:
        figures = [call(f"Now the details of {title}.", "get_movie_details", movie_id=_film(call, title))[name] for title in (one, other)]
        return one if figures[0] >= figures[1] else other

    return Problem(f"Which film is {word}, {one} or {other}?", "4 calls", solve)


def same_maker(draw: random.Random) -> Problem:
    title, job = _title(draw), "Director"

    def solve(call: Call) -> Any:
        crew = call("The crew says who directed it.", "get_movie_crew", movie_id=_film(call, title))
        director = next(member["id"] for member in crew if member["job"] == job)
        films = call("Now the films this person worked on.", "get_person_crew", person_id=director)
        return sum(film["job"] == job for film in films)

    return Problem(f"How many films did the director of {title} direct in all, that one included?", "3 calls", solve)


TEMPLATES: tuple[Callable[[random.Random], Problem], ...] = (
    figure,
    made_by,
    listed,
    other_title,
    leading,
    role,
    filmography,
    person_fact,
    compare,
    same_maker,
)
